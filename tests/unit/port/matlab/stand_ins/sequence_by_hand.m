function y = sequence_by_hand(net, x)
% The same from MATLAB's documented formulas; x is time x features x samples.
  s = @(v) 1 ./ (1 + exp(-v));
  [l, norm, g, fc] = net.Layers{end-4:end-1};
  for n = 1:size(x, 3)
    h = zeros(4, 1);
    c = h;
    k = zeros(2, 1);
    for t = 1:size(x, 1)
      now = reshape(x(t, :, n), [], 1);
      z = l.InputWeights * now + l.RecurrentWeights * h + l.Bias;
      c = s(z(5:8)) .* c + s(z(1:4)) .* tanh(z(9:12));
      h = s(z(13:16)) .* tanh(c);
      v = (h - mean(h)) / sqrt(mean((h - mean(h)) .^ 2) + norm.Epsilon) .* norm.Scale + norm.Offset;
      W = g.InputWeights;
      R = g.RecurrentWeights;
      b = g.Bias;
      extra = zeros(6, 1);
      if numel(b) == 12
        extra = b(7:12);
      end
      r = s(W(1:2, :) * v + R(1:2, :) * k + b(1:2) + extra(1:2));
      z = s(W(3:4, :) * v + R(3:4, :) * k + b(3:4) + extra(3:4));
      switch g.ResetGateMode
        case 'before-multiplication'
          m = tanh(W(5:6, :) * v + R(5:6, :) * (r .* k) + b(5:6));
        otherwise
          m = tanh(W(5:6, :) * v + b(5:6) + r .* (R(5:6, :) * k + extra(5:6)));
      end
      k = (1 - z) .* m + z .* k;
    end
    y(:, n) = fc.Weights * k + fc.Bias;
  end
end
