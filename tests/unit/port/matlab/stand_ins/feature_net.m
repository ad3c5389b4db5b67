function [net, x, y] = feature_net()
% A chain over features with each elementwise layer that image_net does not have, and its outputs.
  low = randn(3, 1);
  in = layer('FeatureInputLayer', 'in', 'InputSize', 3, 'Normalization', 'rescale-symmetric', ...
             'Min', low, 'Max', low + 1 + rand(3, 1));
  fc = layer('FullyConnectedLayer', 'fc', 'Weights', randn(4, 3), 'Bias', randn(4, 1));
  net = struct('class_name', 'dlnetwork');
  net.Layers = {in; fc; layer('ELULayer', 'elu', 'Alpha', 0.7)
                layer('GELULayer', 'gelu', 'Approximation', 'tanh')
                layer('GELULayer', 'exact', 'Approximation', 'none')
                layer('SwishLayer', 'swish'); layer('TanhLayer', 'tanh')
                layer('SigmoidLayer', 'sigmoid'); layer('ClippedReLULayer', 'six', 'Ceiling', 6)
                layer('MultiplicationLayer', 'product', 'NumInputs', 3)
                layer('ConcatenationLayer', 'cat', 'Dim', 1, 'NumInputs', 5)};
  wires = {'in', 'fc'; 'fc', 'elu'; 'fc', 'gelu'; 'fc', 'exact'; 'fc', 'swish'; 'fc', 'tanh'
           'fc', 'sigmoid'; 'fc', 'six'; 'tanh', 'product/in1'; 'sigmoid', 'product/in2'
           'six', 'product/in3'; 'elu', 'cat/in1'; 'gelu', 'cat/in2'; 'exact', 'cat/in3'
           'swish', 'cat/in4'; 'product', 'cat/in5'};
  net.Connections = struct('Source', {wires(:, 1)}, 'Destination', {wires(:, 2)});
  x = 3 * randn(3, 6);
  h = fc.Weights * (2 * (x - in.Min) ./ (in.Max - in.Min) - 1) + fc.Bias;
  elu = h;
  elu(h < 0) = 0.7 * (exp(h(h < 0)) - 1);
  gelu = h / 2 .* (1 + tanh(sqrt(2 / pi) * (h + 0.044715 * h .^ 3)));
  exact = h / 2 .* (1 + erf(h / sqrt(2)));
  s = 1 ./ (1 + exp(-h));
  y = [elu; gelu; exact; h .* s; tanh(h) .* s .* min(6, max(0, h))];
end

function made = layer(kind, name, varargin)
  made = struct('class_name', ['nnet.cnn.layer.' kind], 'Name', name, varargin{:});
end
