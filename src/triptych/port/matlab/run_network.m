function [y, values, names] = run_network(net, x)
% RUN_NETWORK  Compute a network that is stored as plain structs (format triptych-network-1).
%
%   y = run_network('net.mat', x)     loads the structs from a file
%   y = run_network(net, x)           takes what load('net.mat') returns
%   [y, values, names] = ...          gives every layer's output too, as a cell
%
% The axes of x are those of the network's input with the samples last: height x width x channels
% x samples, features x samples, or time x features x samples. Indices count from 0. Single x is
% computed in single precision, everything else in double.
%
% No toolbox is needed; runs in MATLAB (R2016b or later) and in GNU Octave. The struct form is
% described in docs/matlab.md of Triptych.
  if ischar(net)
    net = load(net);
  end
  if ~isfield(net, 'format') || ~strcmp(net.format, 'triptych-network-1')
    error('this is not a network in the form triptych-network-1');
  end
  if ~isa(x, 'single')
    x = double(x);
  end
  count = numel(net.layers);
  values = cell(1, count);
  names = cell(1, count);
  ranks = zeros(1, count);
  for k = 1:count
    layer = net.layers{k};
    names{k} = layer.name;
    if strcmp(layer.kind, 'input')
      check_size(x, layer.options.size(:)');
      values{k} = x;
      ranks(k) = numel(layer.options.size);
      continue
    end
    from = cellfun(@(name) place_of(name, names(1:k-1)), layer.inputs(:)');
    arrays = layer.arrays;
    if ~isempty(layer.shares)
      arrays = net.layers{place_of(layer.shares, names(1:k-1))}.arrays;
    end
    arrays = in_class(arrays, class(x));
    [values{k}, ranks(k)] = compute(layer, arrays, values(from), ranks(from(1)));
  end
  y = values{count};
end

function place = place_of(name, names)
  place = find(strcmp(name, names), 1);
  if isempty(place)
    error('no layer before it is called %s', name);
  end
end

function [y, rank] = compute(layer, arrays, inputs, rank)
% One layer; the rank counts the axes without the samples, so that it is the channels' axis.
  o = layer.options;
  x = inputs{1};
  switch layer.kind
    case {'relu', 'relu6', 'selu', 'silu', 'sigmoid', 'tanh', 'softplus', 'satlin', 'satlins'}
      y = feval(str2func(layer.kind), x);
    case 'leaky_relu'
      y = leaky_relu(x, o.slope);
    case 'elu'
      y = elu(x, o.alpha);
    case 'gelu'
      y = gelu(x, o.approximate);
    case 'hard_sigmoid'
      y = hard_sigmoid(x, o.slope);
    case 'clipped_relu'
      y = min(max(x, 0), o.ceiling);
    case 'softmax'
      y = softmax(x, rank);
    case 'log_softmax'
      y = log_softmax(x, rank);
    case 'rescale'
      y = x * o.scale + o.offset;
    case 'map'
      y = map(x, arrays.from, arrays.gain, arrays.to, rank);
    case 'select'
      y = x(arrays.keep, :);
    case 'restore'
      y = restore(x, arrays.keep, arrays.constants);
    case 'dropout'
      y = x;
    case 'dense'
      y = dense(x, arrays.weights, get_or(arrays, 'bias', 0), rank);
    case 'conv'
      y = convolution(x, arrays.weights, get_or(arrays, 'bias', 0), o.stride, ...
                      edges(x, [size(arrays.weights, 1), size(arrays.weights, 2)], o), ...
                      o.dilation, o.groups);
    case 'conv_transpose'
      y = transposed_convolution(x, arrays.weights, get_or(arrays, 'bias', 0), o.stride, ...
                                 crop(o), o.dilation);
    case 'max_pool'
      y = max_pool(x, o.size, o.stride, edges(x, o.size, o));
    case 'average_pool'
      y = average_pool(x, o.size, o.stride, edges(x, o.size, o), o.count_padding);
    case 'global_average_pool'
      y = mean(mean(x, 1), 2);
    case 'global_max_pool'
      y = max(max(x, [], 1), [], 2);
    case 'batch_norm'
      y = batch_norm(x, arrays.mean, arrays.variance, o.epsilon, arrays.scale, arrays.offset, rank);
    case 'layer_norm'
      y = layer_norm(x, o.epsilon, arrays.scale, arrays.offset, rank);
    case 'flatten'
      if strcmp(o.order, 'row-major')
        y = flatten_rows(x, rank);
      else
        y = flatten_columns(x, rank);
      end
      rank = 1;
    case 'reshape'
      y = reshape_rows(x, rank, o.size(:)');
      rank = numel(o.size);
    case 'permute'
      y = permute(x, [o.axes(:)' + 1, rank + 1]);
    case 'pad'
      y = padded(x, o.amounts, 0);
    case 'embedding'
      y = embedding(x, arrays.weights, rank);
      rank = rank + 1;
    case 'add'
      y = add(inputs{:});
    case 'multiply'
      y = multiply(inputs{:});
    case 'concatenate'
      y = cat(rank, inputs{:});
    case 'dueling'
      y = dueling(inputs{:});
    case {'elman', 'lstm', 'gru'}
      y = feval(str2func(layer.kind), x, arrays, o);
      rank = 1 + o.sequences;
    otherwise
      error('layer %s is of an unknown kind: %s', layer.name, layer.kind);
  end
end

function pad = edges(x, window, o)
% Padding in pixels, [top bottom; left right]; 'same' gives ceil(size / stride), odd pixel last.
  pad = get_or(o, 'padding', 'valid');
  if ~ischar(pad)
    return
  end
  same = strcmp(pad, 'same');
  pad = zeros(2, 2);
  holes = get_or(o, 'dilation', [1 1]);
  for axis = 1:2
    span = holes(axis) * (window(axis) - 1) + 1;
    n = size(x, axis);
    total = same * max((ceil(n / o.stride(axis)) - 1) * o.stride(axis) + span - n, 0);
    pad(axis, :) = [floor(total / 2), total - floor(total / 2)];
  end
end

function pad = crop(o)
% Pixels off each edge; 'same' leaves size * stride, and below zero means zeros added.
  pad = get_or(o, 'padding', 'valid');
  if ~ischar(pad)
    return
  end
  surplus = strcmp(pad, 'same') * (o.dilation(:) .* (o.kernel(:) - 1) + 1 - o.stride(:));
  before = floor(max(surplus, 0) / 2);
  pad = [before, surplus - before];
end

function y = map(x, from, gain, to, rank)
% (x - from) * gain + to, for single numbers, for each channel, or for each entry.
  numbers = {from, gain, to};
  for k = 1:3
    v = numbers{k};
    if numel(v) > 1 && numel(v) == size(x, rank)
      numbers{k} = along(v, rank);
    end
  end
  y = (x - numbers{1}) .* numbers{2} + numbers{3};
end

function y = restore(x, keep, constants)
% Rows that were constant in training are put back between the others.
  y = repmat(constants(:), 1, size(x, 2));
  y(keep, :) = x;
end

function y = satlin(x)
  y = min(max(x, 0), 1);
end

function y = satlins(x)
  y = min(max(x, -1), 1);
end

function y = flatten_columns(x, rank)
% All axes but the samples into one, the first fastest, as MATLAB stores them.
  y = reshape(x, [], size(x, rank + 1));
end

% What follows is also copied into the files that Triptych writes, as far as they need it.

function check_size(x, expected)
% The axes without the samples must be the network's; 0 stands for any size.
  found = arrayfun(@(axis) size(x, axis), 1:numel(expected));
  if any(found ~= expected & expected > 0) || ndims(x) > max(numel(expected) + 1, 2)
    error('x must be %sx samples, but is %s', sprintf('%d x ', expected), mat2str(size(x)));
  end
end

function arrays = in_class(arrays, kind)
% A layer's arrays in single or in double.
  names = fieldnames(arrays);
  for k = 1:numel(names)
    arrays.(names{k}) = cast(arrays.(names{k}), kind);
  end
end

function value = get_or(s, name, default)
  value = default;
  if isfield(s, name)
    value = s.(name);
  end
end

function v = along(v, axis)
% A vector laid along an axis.
  v = reshape(v, [ones(1, axis - 1), numel(v), 1]);
end

function y = dense(x, weights, bias, axis)
% weights * x + bias along the features' axis.
  order = [axis, 1:axis-1, axis+1];
  x = permute(x, order);
  sizes = size(x);
  y = weights * reshape(x, sizes(1), []) + bias(:);
  y = ipermute(reshape(y, [size(weights, 1), sizes(2:end)]), order);
end

function y = convolution(x, weights, bias, stride, padding, dilation, groups)
% y(i,j,o) = sum of x(i*stride + a*dilation, ..., c) weights(a,b,c,o) + bias(o), as one product.
  x = padded(x, padding, 0);
  [kh, kw, ~, filters] = size(weights);
  [h, w, channels, n] = size(x);
  oh = floor((h - dilation(1) * (kh - 1) - 1) / stride(1)) + 1;
  ow = floor((w - dilation(2) * (kw - 1) - 1) / stride(2)) + 1;
  columns = zeros([oh, ow, n, kh, kw, channels], class(x));
  for a = 1:kh
    for b = 1:kw
      rows = (a - 1) * dilation(1) + 1 + stride(1) * (0:oh-1);
      cols = (b - 1) * dilation(2) + 1 + stride(2) * (0:ow-1);
      columns(:, :, :, a, b, :) = reshape(permute(x(rows, cols, :, :), [1 2 4 3]), ...
                                          [oh, ow, n, 1, 1, channels]);
    end
  end
  taken = channels / groups;
  made = filters / groups;
  y = zeros(oh * ow * n, filters, class(x));
  for g = 1:groups
    own = columns(:, :, :, :, :, (g - 1) * taken + (1:taken));
    out = (g - 1) * made + (1:made);
    y(:, out) = reshape(own, oh * ow * n, []) * reshape(weights(:, :, :, out), [], made);
  end
  y = permute(reshape(y, [oh, ow, n, filters]), [1 2 4 3]) + along(bias, 3);
end

function y = transposed_convolution(x, weights, bias, stride, cropping, dilation)
% Every pixel adds x * weights to the full output; then the crop (below 0: zeros), then the bias.
  [kh, kw, filters, ~] = size(weights);
  [h, w, channels, n] = size(x);
  full = zeros([(h - 1) * stride(1) + dilation(1) * (kh - 1) + 1, ...
                (w - 1) * stride(2) + dilation(2) * (kw - 1) + 1, filters, n], class(x));
  pixels = reshape(permute(x, [1 2 4 3]), [], channels);
  for a = 1:kh
    for b = 1:kw
      kernel = reshape(weights(a, b, :, :), filters, channels);
      part = permute(reshape(pixels * kernel.', [h, w, n, filters]), [1 2 4 3]);
      rows = (a - 1) * dilation(1) + 1 + stride(1) * (0:h-1);
      cols = (b - 1) * dilation(2) + 1 + stride(2) * (0:w-1);
      full(rows, cols, :, :) = full(rows, cols, :, :) + part;
    end
  end
  full = padded(full, max(-cropping, 0), 0);
  off = max(cropping, 0);
  y = full(off(1, 1)+1:end-off(1, 2), off(2, 1)+1:end-off(2, 2), :, :) + along(bias, 3);
end

function y = padded(x, amounts, value)
% amounts are [top bottom; left right] in pixels.
  [h, w, channels, n] = size(x);
  y = repmat(cast(value, class(x)), [h + sum(amounts(1, :)), w + sum(amounts(2, :)), channels, n]);
  y(amounts(1, 1) + (1:h), amounts(2, 1) + (1:w), :, :) = x;
end

function y = max_pool(x, window, stride, padding)
% The largest value under a window; padded pixels never win.
  y = -Inf;
  x = padded(x, padding, -Inf);
  for a = 1:window(1)
    for b = 1:window(2)
      y = max(y, under(x, a, b, window, stride));
    end
  end
end

function y = average_pool(x, window, stride, padding, count_padding)
% The mean under a window, over the window or over the image's own pixels in it.
  total = 0;
  pixels = 0;
  own = padded(ones(size(x, 1), size(x, 2), class(x)), padding, double(count_padding));
  x = padded(x, padding, 0);
  for a = 1:window(1)
    for b = 1:window(2)
      total = total + under(x, a, b, window, stride);
      pixels = pixels + under(own, a, b, window, stride);
    end
  end
  y = total ./ pixels;
end

function part = under(x, a, b, window, stride)
% The pixel at place (a, b) of every window.
  rows = a:stride(1):size(x, 1) - window(1) + a;
  cols = b:stride(2):size(x, 2) - window(2) + b;
  part = x(rows, cols, :, :);
end

function y = batch_norm(x, center, variance, epsilon, scale, offset, axis)
% (x - mean) / sqrt(variance + epsilon) * scale + offset for each channel, running statistics.
  y = (x - along(center, axis)) ./ sqrt(along(variance, axis) + epsilon);
  y = y .* along(scale, axis) + along(offset, axis);
end

function y = layer_norm(x, epsilon, scale, offset, axis)
% The same with every example's own mean and biased variance over the axis.
  centred = x - mean(x, axis);
  y = centred ./ sqrt(mean(centred .^ 2, axis) + epsilon);
  y = y .* along(scale, axis) + along(offset, axis);
end

function y = flatten_rows(x, rank)
% All axes but the samples into one, the last fastest (not MATLAB's own order).
  y = reshape(permute(x, [rank:-1:1, rank + 1]), [], size(x, rank + 1));
end

function y = reshape_rows(x, rank, sizes)
% Other axes for the same numbers in the order of flatten_rows.
  flat = flatten_rows(x, rank);
  k = numel(sizes);
  y = permute(reshape(flat, [fliplr(sizes), size(flat, 2)]), [k:-1:1, k + 1]);
end

function y = embedding(x, weights, rank)
% A column of the weights for each index; indices count from 0.
  sizes = arrayfun(@(axis) size(x, axis), 1:rank+1);
  y = reshape(weights(:, x(:) + 1), [size(weights, 1), sizes]);
  y = permute(y, [2:rank+1, 1, rank+2]);
end

function y = add(varargin)
  y = varargin{1};
  for k = 2:nargin
    y = y + varargin{k};
  end
end

function y = multiply(varargin)
% An axis of size 1 is repeated.
  y = varargin{1};
  for k = 2:nargin
    y = y .* varargin{k};
  end
end

function y = dueling(value, advantage)
  y = value + advantage - mean(advantage, 1);
end

function y = relu(x)
  y = max(x, 0);
end

function y = relu6(x)
  y = min(max(x, 0), 6);
end

function y = leaky_relu(x, slope)
  y = max(x, 0) + slope * min(x, 0);
end

function y = elu(x, alpha)
  y = max(x, 0) + alpha * expm1(min(x, 0));
end

function y = selu(x)
  y = 1.0507009873554805 * elu(x, 1.6732632423543772);
end

function y = gelu(x, approximate)
  if approximate
    y = 0.5 * x .* (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x .^ 3)));
  else
    y = 0.5 * x .* (1 + erf(x / sqrt(2)));
  end
end

function y = silu(x)
  y = x .* sigmoid(x);
end

function y = sigmoid(x)
  y = 1 ./ (1 + exp(-x));
end

function y = hard_sigmoid(x, slope)
  y = min(max(slope * x + 0.5, 0), 1);
end

function y = softplus(x)
  y = max(x, 0) + log1p(exp(-abs(x)));
end

function y = softmax(x, axis)
  y = exp(log_softmax(x, axis));
end

function y = log_softmax(x, axis)
  x = x - max(x, [], axis);
  y = x - log(sum(exp(x), axis));
end

function y = bend(name, x)
% What a state or a gate passes through.
  switch name
    case 'tanh'
      y = tanh(x);
    case 'sigmoid'
      y = sigmoid(x);
    case 'relu'
      y = max(x, 0);
    case 'hard_sigmoid'
      y = hard_sigmoid(x, 1 / 6);
    otherwise
      error('unknown activation %s', name);
  end
end

function y = through_time(step, x, units, o)
% Steps over (time, features, samples); step(x, h, c) gives the next hidden and cell state.
  [time, features, n] = size(x);
  h = zeros(units, n, class(x));
  c = h;
  every = zeros([time, units, n], class(x));
  order = 1:time;
  if o.reverse
    order = time:-1:1;
  end
  for t = order
    now = reshape(x(t, :, :), features, n);
    [next_h, next_c] = step(now, h, c);
    seen = true(1, n);
    if isfield(o, 'mask_value')
      seen = any(now ~= o.mask_value, 1);
    end
    h(:, seen) = next_h(:, seen);
    c(:, seen) = next_c(:, seen);
    every(t, :, :) = reshape(h, [1, units, n]);
  end
  y = h;
  if o.sequences
    y = every;
  end
end

function y = elman(x, arrays, o)
  y = through_time(@(now, h, c) elman_step(arrays, o, now, h, c), x, o.units, o);
end

function [h, c] = elman_step(arrays, o, x, h, c)
  h = bend(o.activation, from_input(arrays, x) + from_state(arrays, h));
end

function s = from_input(arrays, x)
  s = arrays.input_weights * x + get_or(arrays, 'bias', 0);
end

function s = from_state(arrays, h)
  s = arrays.recurrent_weights * h + get_or(arrays, 'recurrent_bias', 0);
end

function y = lstm(x, arrays, o)
% The rows of the arrays are the gates input, forget, cell, output.
  y = through_time(@(now, h, c) lstm_step(arrays, o, now, h, c), x, o.units, o);
end

function [h, c] = lstm_step(arrays, o, x, h, c)
  s = from_input(arrays, x) + from_state(arrays, h);
  rows = @(gate) s((gate - 1) * o.units + (1:o.units), :);
  kept = bend(o.gate_activation, rows(2)) .* c;
  c = kept + bend(o.gate_activation, rows(1)) .* bend(o.activation, rows(3));
  h = bend(o.gate_activation, rows(4)) .* bend(o.activation, c);
end

function y = gru(x, arrays, o)
% The rows of the arrays are the gates reset, update, candidate.
  y = through_time(@(now, h, c) gru_step(arrays, o, now, h, c), x, o.units, o);
end

function [h, c] = gru_step(arrays, o, x, h, c)
  taken = from_input(arrays, x);
  held = from_state(arrays, h);
  last = 2 * o.units + (1:o.units);
  reset = bend(o.gate_activation, taken(1:o.units, :) + held(1:o.units, :));
  both = o.units + (1:o.units);
  update = bend(o.gate_activation, taken(both, :) + held(both, :));
  if o.reset_after
    inner = reset .* (held(last, :) + get_or(arrays, 'candidate_bias', 0));
  else
    inner = arrays.recurrent_weights(last, :) * (reset .* h);
    if isfield(arrays, 'recurrent_bias')
      inner = inner + arrays.recurrent_bias(last);
    end
  end
  h = update .* h + (1 - update) .* bend(o.activation, taken(last, :) + inner);
end
