function [net, x, y] = pooled_net()
% Over images: normalisation by the channels' means, a transposed convolution that keeps size times
% stride, both global poolings, a flatten layer; and its outputs.
  in = layer('ImageInputLayer', 'in', 'InputSize', [3 2 2], 'Normalization', 'zerocenter', ...
             'Mean', randn(1, 1, 2));
  up = layer('TransposedConvolution2DLayer', 'up', 'Stride', [2 1], 'CroppingMode', 'same', ...
             'CroppingSize', [0 0 0 0], 'Weights', randn(3, 2, 2, 2), 'Bias', randn(1, 1, 2));
  flat = layer('FlattenLayer', 'flat');
  net = struct('class_name', 'DAGNetwork');
  net.Layers = {in; up; layer('GlobalAveragePooling2DLayer', 'mean')
                layer('GlobalMaxPooling2DLayer', 'max'); layer('AdditionLayer', 'add')
                flat; layer('SoftmaxLayer', 'soft'); layer('ClassificationOutputLayer', 'loss')};
  wires = {'in', 'up'; 'up', 'mean'; 'up', 'max'; 'mean', 'add/in1'; 'max', 'add/in2'
           'add', 'flat'; 'flat', 'soft'; 'soft', 'loss'};
  net.Connections = struct('Source', {wires(:, 1)}, 'Destination', {wires(:, 2)});
  x = randn(3, 2, 2, 5);
  for n = 1:5
    full = zeros(7, 3, 2); % (3 - 1) * 2 + 3 and (2 - 1) * 1 + 2; cropped to 6 and 2 from the end
    for i = 1:3
      for j = 1:2
        for c = 1:2
          part = (x(i, j, c, n) - in.Mean(c)) * up.Weights(:, :, :, c);
          full(2*i-1:2*i+1, j:j+1, :) = full(2*i-1:2*i+1, j:j+1, :) + part;
        end
      end
    end
    for o = 1:2
      map = full(1:6, 1:2, o) + up.Bias(o);
      s(o, 1) = mean(map(:)) + max(map(:));
    end
    y(:, n) = exp(s) / sum(exp(s));
  end
end

function made = layer(kind, name, varargin)
  made = struct('class_name', ['nnet.cnn.layer.' kind], 'Name', name, varargin{:});
end
