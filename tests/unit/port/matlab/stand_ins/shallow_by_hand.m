function y = shallow_by_hand(net, x)
% What MATLAB documents of sim(net, x) for two layers, written out: settings, weights, settings back.
  for k = 1:numel(net.inputs{1}.processFcns)
    s = net.inputs{1}.processSettings{k};
    if strcmp(net.inputs{1}.processFcns{k}, 'removeconstantrows')
      x = x(s.keep, :);
    else
      x = (x - s.xoffset) .* s.gain + s.ymin;
    end
  end
  a = bend(net.layers{1}.transferFcn, net.IW{1, 1} * x + net.b{1});
  n = net.LW{2, 1} * a + net.b{2};
  if ~isempty(net.IW{2, 1})
    n = n + net.IW{2, 1} * x;
  end
  y = bend(net.layers{2}.transferFcn, n);
  for k = numel(net.outputs{2}.processFcns):-1:1
    s = net.outputs{2}.processSettings{k};
    if strcmp(net.outputs{2}.processFcns{k}, 'removeconstantrows')
      z = zeros(numel(s.keep) + numel(s.remove), size(y, 2));
      z(s.keep, :) = y;
      z(s.remove, :) = repmat(s.constants, 1, size(y, 2));
      y = z;
    else
      if isfield(s, 'ymean')
        s.ymin = s.ymean;
      end
      y = (y - s.ymin) ./ s.gain + s.xoffset;
    end
  end
end

function a = bend(fcn, n)
  switch fcn
    case 'logsig'
      a = 1 ./ (1 + exp(-n));
    case 'tansig'
      a = 2 ./ (1 + exp(-2 * n)) - 1;
    case 'purelin'
      a = n;
    case 'satlins'
      a = max(-1, min(1, n));
    case 'satlin'
      a = max(0, min(1, n));
    case 'softmax'
      a = exp(n) ./ sum(exp(n), 1);
  end
end
