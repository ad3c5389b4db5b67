function export_network(net, file, x)
% EXPORT_NETWORK  Write a trained network as plain structs that Triptych reads.
%
%   export_network(net, 'net.mat')     net is what trainAutoencoder, feedforwardnet, patternnet,
%                                      cascadeforwardnet, trainNetwork or trainnet returned: an
%                                      Autoencoder, network, SeriesNetwork, DAGNetwork or dlnetwork
%   export_network(net, 'net.mat', x)  also writes what MATLAB itself makes of inputs x, two samples
%                                      or more: features x samples, time x features x samples, or
%                                      height x width x channels x samples; Triptych compares with it
%
% What has no plain form is named in an error, and no file is written. The form is described in
% docs/matlab.md of Triptych. Structs with the same fields are taken like objects.
  if ~ischar(file)
    error('export_network(net, file): file must be a name such as ''net.mat''');
  end
  stored = struct('format', 'triptych-network-1', 'source', kind_of(net));
  if has(net, 'EncoderWeights')
    stored.layers = from_autoencoder(net);
  elseif has(net, 'IW')
    stored.layers = from_shallow(net);
  elseif has(net, 'Layers')
    stored.layers = from_deep(net);
  else
    error('export_network does not know networks of class %s', kind_of(net));
  end
  if nargin > 2
    stored.check = struct('inputs', x, 'outputs', run_in_matlab(net, x));
  end
  save(file, '-struct', 'stored', '-v7');
end

% --- what objects and structs have in common -------------------------------------------------

function yes = has(object, name)
  try
    object.(name);
    yes = true;
  catch
    yes = false;
  end
end

function value = get_or(object, name, default)
  value = default;
  if has(object, name)
    value = object.(name);
  end
end

function kind = kind_of(object)
% The class without its packages; a struct may say it in class_name.
  kind = class(object);
  if isstruct(object) && isfield(object, 'class_name')
    kind = object.class_name;
  end
  parts = strsplit(kind, '.');
  kind = parts{end};
end

function layer = make(kind, name, inputs, options, arrays)
  layer = struct('kind', kind, 'name', name, 'inputs', {inputs}, 'options', options, ...
                 'arrays', arrays, 'shares', '');
end

function y = run_in_matlab(net, x)
  switch kind_of(net)
    case 'network'
      y = sim(net, x);
    case 'dlnetwork'
      labels = {'CB', 'TCB', 'SSCB'};
      y = predict(net, dlarray(x, labels{ndims(x) - 1}));
      label = dims(y);
      y = extractdata(y);
      if any(label == 'T')
        y = permute(y, [find(label == 'T'), find(label == 'C'), find(label == 'B')]);
      end
    case {'SeriesNetwork', 'DAGNetwork'}
      if ndims(x) == 3
        error('a %s takes sequences as a cell: leave x out', kind_of(net));
      elseif ndims(x) == 2
        x = x.'; % these have features in columns
      end
      y = predict(net, x);
      if ndims(y) == 2
        y = y.';
      end
    otherwise
      y = predict(net, x);
  end
end

% --- trainAutoencoder ------------------------------------------------------------------------

function layers = from_autoencoder(net)
% The scaling is kept inside the object; network(net) is MATLAB's own way to get at it.
  if ~isstruct(net) && ismethod(net, 'network')
    layers = from_shallow(network(net));
    return
  end
  if get_or(net, 'ScaleData', false)
    error('this Autoencoder scales its data and has no network(): scale before training instead');
  end
  size_in = size(net.EncoderWeights, 2);
  layers = {input_layer(size_in)};
  layers = dense_layer(layers, 'encoder', 'input', net.EncoderWeights, net.EncoderBiases);
  layers = transfer(layers, 'encoder', net.EncoderTransferFunction);
  layers = dense_layer(layers, 'decoder', layers{end}.name, net.DecoderWeights, net.DecoderBiases);
  layers = transfer(layers, 'decoder', net.DecoderTransferFunction);
end

function layer = input_layer(sizes)
  layer = make('input', 'input', {}, struct('size', sizes, 'values', 'real'), struct());
end

function layers = dense_layer(layers, name, from, weights, bias)
  options = struct('units', size(weights, 1), 'bias', ~isempty(bias));
  arrays = struct('weights', weights);
  if ~isempty(bias)
    arrays.bias = bias;
  end
  layers{end+1} = make('dense', name, {from}, options, arrays);
end

function layers = transfer(layers, name, fcn)
% A transfer function behind the last layer; purelin is none.
  known = struct('logsig', 'sigmoid', 'tansig', 'tanh', 'poslin', 'relu', 'satlin', 'satlin', ...
                 'satlins', 'satlins', 'softmax', 'softmax', 'purelin', '');
  if ~isfield(known, fcn)
    error('%s: the transfer function %s has no plain form', name, fcn);
  end
  if ~isempty(known.(fcn))
    layers{end+1} = make(known.(fcn), [name '_' fcn], {layers{end}.name}, struct(), struct());
  end
end

% --- feedforwardnet, patternnet, cascadeforwardnet -------------------------------------------

function layers = from_shallow(net)
  if net.numInputs ~= 1 || sum(net.outputConnect) ~= 1
    error('a network with %d inputs and %d outputs has no plain form; it must have one of each', ...
          net.numInputs, sum(net.outputConnect));
  end
  if find(net.outputConnect) ~= net.numLayers
    error('the output must be the last layer');
  end
  in = net.inputs{1};
  layers = {input_layer(in.size)};
  layers = processed(layers, 'input', in, false);
  start = layers{end}.name;
  ends = cell(1, net.numLayers);
  for k = 1:net.numLayers
    [layers, ends{k}] = shallow_layer(net, layers, k, start, ends);
  end
  layers = processed(layers, 'output', net.outputs{net.numLayers}, true);
end

function [layers, last] = shallow_layer(net, layers, k, start, ends)
% The sum of what each connection makes of its source, the bias with the first of them.
  name = sprintf('layer%d', k);
  own = net.layers{k};
  if ~strcmp(get_or(own, 'netInputFcn', 'netsum'), 'netsum')
    error('%s: the net input function %s has no plain form', name, own.netInputFcn);
  end
  bias = [];
  if net.biasConnect(k)
    bias = net.b{k};
  end
  terms = {};
  if net.inputConnect(k, 1)
    check_weight(name, get_or(net, 'inputWeights', {}), k, 1);
    layers = dense_layer(layers, name, start, net.IW{k, 1}, bias);
    terms{end+1} = name;
    bias = [];
  end
  for from = find(net.layerConnect(k, :))
    if from >= k
      error('%s: a connection from layer %d leads back, which has no plain form', name, from);
    end
    check_weight(name, get_or(net, 'layerWeights', {}), k, from);
    term = name;
    if ~isempty(terms)
      term = sprintf('%s_from%d', name, from);
    end
    layers = dense_layer(layers, term, ends{from}, net.LW{k, from}, bias);
    terms{end+1} = term; %#ok<AGROW>
    bias = [];
  end
  if isempty(terms)
    error('%s: nothing leads to it', name);
  elseif numel(terms) > 1
    layers{end+1} = make('add', [name '_sum'], terms, struct(), struct());
  end
  layers = transfer(layers, name, own.transferFcn);
  last = layers{end}.name;
end

function check_weight(name, weights, k, from)
% No delays, and the usual product.
  if isempty(weights) || isempty(weights{k, from})
    return
  end
  weight = weights{k, from};
  if any(get_or(weight, 'delays', 0) ~= 0)
    error('%s: a connection with delays has no plain form', name);
  end
  if ~strcmp(get_or(weight, 'weightFcn', 'dotprod'), 'dotprod')
    error('%s: the weight function %s has no plain form', name, weight.weightFcn);
  end
end

function layers = processed(layers, name, side, backwards)
% The settings of processFcns as maps; those of the output are undone, the last one first.
  fcns = get_or(side, 'processFcns', {});
  settings = get_or(side, 'processSettings', {});
  order = 1:numel(fcns);
  if backwards
    order = fliplr(order);
  end
  for k = order
    layers = process(layers, sprintf('%s_%s', name, fcns{k}), fcns{k}, settings{k}, backwards);
  end
end

function layers = process(layers, name, fcn, s, backwards)
  if get_or(s, 'no_change', false)
    return
  end
  switch fcn
    case {'mapminmax', 'mapstd'}
      % mapminmax: y = (x - xoffset) * gain + ymin; mapstd: y = (x - xoffset) * gain + ymean
      target = get_or(s, 'ymin', get_or(s, 'ymean', 0));
      if backwards
        arrays = struct('from', target, 'gain', 1 ./ s.gain(:), 'to', s.xoffset(:));
      else
        arrays = struct('from', s.xoffset(:), 'gain', s.gain(:), 'to', target);
      end
      layers{end+1} = make('map', name, {layers{end}.name}, struct(), arrays);
    case 'removeconstantrows'
      if isempty(s.remove)
        return
      end
      kind = 'select';
      arrays = struct('keep', double(s.keep(:)));
      if backwards
        kind = 'restore';
        constants = zeros(numel(s.keep) + numel(s.remove), 1);
        constants(s.remove) = get_or(s, 'constants', get_or(s, 'value', 0));
        arrays.constants = constants;
      end
      layers{end+1} = make(kind, name, {layers{end}.name}, struct(), arrays);
    case 'fixunknowns'
      if ~isempty(get_or(s, 'unknown', []))
        error('%s: inputs with unknown values have no plain form', name);
      end
    otherwise
      error('%s: the processing function %s has no plain form', name, fcn);
  end
end

% --- SeriesNetwork, DAGNetwork, dlnetwork ----------------------------------------------------

function layers = from_deep(net)
  sources = connections_of(net);
  order = in_order(net, sources);
  layers = {};
  ranks = struct('name', {{}}, 'rank', []);
  renamed = containers.Map();
  for k = order
    own = net.Layers(k);
    if iscell(own)
      own = own{1};
    end
    inputs = cellfun(@(name) renamed(name), sources{k}, 'UniformOutput', false);
    rank = 0;
    if ~isempty(inputs)
      rank = ranks.rank(strcmp(ranks.name, inputs{1}));
    end
    before = numel(layers);
    [layers, rank] = deep_layer(layers, own, inputs, rank);
    if numel(layers) > before
      renamed(own.Name) = layers{end}.name;
    else
      renamed(own.Name) = inputs{1};
    end
    ranks.name{end+1} = renamed(own.Name);
    ranks.rank(end+1) = rank;
  end
end

function sources = connections_of(net)
% For each layer the names of the layers it takes, in the order of its inputs.
  count = numel(net.Layers);
  sources = cell(1, count);
  names = arrayfun(@(k) name_of(net, k), 1:count, 'UniformOutput', false);
  if ~has(net, 'Connections')
    for k = 2:count
      sources{k} = names(k-1);
    end
    sources{1} = {};
    return
  end
  from = cellstr(net.Connections.Source);
  to = cellstr(net.Connections.Destination);
  for k = 1:count
    sources{k} = {};
    for c = 1:numel(to)
      parts = strsplit(to{c}, '/');
      if strcmp(strjoin(parts(1:max(end-1, 1)), '/'), names{k}) || strcmp(to{c}, names{k})
        place = numel(sources{k}) + 1;
        digits = regexp(parts{end}, '^in(\d+)$', 'tokens');
        if ~isempty(digits) && ~strcmp(to{c}, names{k})
          place = str2double(digits{1}{1});
        end
        sources{k}{place} = from{c};
      end
    end
  end
end

function name = name_of(net, k)
  own = net.Layers(k);
  if iscell(own)
    own = own{1};
  end
  name = own.Name;
end

function order = in_order(net, sources)
% Every layer after those that it takes.
  count = numel(net.Layers);
  names = arrayfun(@(k) name_of(net, k), 1:count, 'UniformOutput', false);
  order = [];
  while numel(order) < count
    ready = find(arrayfun(@(k) ~any(order == k) && all(ismember(sources{k}, names(order))), ...
                          1:count));
    if isempty(ready)
      left = setdiff(1:count, order);
      error('%s takes what is no layer of this network', names{left(1)});
    end
    order(end+1) = ready(1); %#ok<AGROW>
  end
  ends = setdiff(names, [sources{:}]);
  if numel(ends) ~= 1
    error('a network with %d outputs has no plain form: %s', numel(ends), strjoin(ends, ', '));
  end
  last = find(strcmp(names, ends{1}));
  order = [order(order ~= last), last];
end

function [layers, rank] = deep_layer(layers, own, inputs, rank)
% One layer of MATLAB as one or more structs; rank counts the axes without the samples.
  none = struct();
  name = own.Name;
  kind = kind_of(own);
  switch kind
    case {'ImageInputLayer', 'FeatureInputLayer', 'SequenceInputLayer'}
      [layers, rank] = deep_input(layers, own, kind);
    case {'Convolution2DLayer', 'GroupedConvolution2DLayer', 'TransposedConvolution2DLayer'}
      layers{end+1} = convolution(own, kind, inputs);
    case {'MaxPooling2DLayer', 'AveragePooling2DLayer'}
      layers{end+1} = pooling(own, kind, inputs);
    case 'GlobalAveragePooling2DLayer'
      layers{end+1} = make('global_average_pool', name, inputs, none, none);
    case 'GlobalMaxPooling2DLayer'
      layers{end+1} = make('global_max_pool', name, inputs, none, none);
    case 'FullyConnectedLayer'
      if rank == 3
        layers{end+1} = make('flatten', [name '_flatten'], inputs, ...
                             struct('order', 'column-major'), none);
        inputs = {layers{end}.name};
        rank = 1;
      end
      layers = dense_layer(layers, name, inputs{1}, double_or_single(own.Weights), ...
                           double_or_single(own.Bias));
    case 'FlattenLayer'
      if rank == 3
        layers{end+1} = make('flatten', name, inputs, struct('order', 'column-major'), none);
        rank = 1;
      end
    case {'ReLULayer', 'TanhLayer', 'SigmoidLayer', 'SwishLayer', 'SoftmaxLayer'}
      kinds = struct('ReLULayer', 'relu', 'TanhLayer', 'tanh', 'SigmoidLayer', 'sigmoid', ...
                     'SwishLayer', 'silu', 'SoftmaxLayer', 'softmax');
      layers{end+1} = make(kinds.(kind), name, inputs, none, none);
    case 'LeakyReLULayer'
      layers{end+1} = make('leaky_relu', name, inputs, struct('slope', own.Scale), none);
    case 'ClippedReLULayer'
      layers{end+1} = make('clipped_relu', name, inputs, struct('ceiling', own.Ceiling), none);
    case 'ELULayer'
      layers{end+1} = make('elu', name, inputs, struct('alpha', own.Alpha), none);
    case 'GELULayer'
      approximate = strcmp(get_or(own, 'Approximation', 'none'), 'tanh');
      layers{end+1} = make('gelu', name, inputs, struct('approximate', approximate), none);
    case 'DropoutLayer'
      layers{end+1} = make('dropout', name, inputs, struct('rate', own.Probability), none);
    case 'BatchNormalizationLayer'
      layers{end+1} = batch_norm(own, inputs);
    case 'LayerNormalizationLayer'
      layers{end+1} = layer_norm(own, inputs, rank);
    case {'AdditionLayer', 'MultiplicationLayer'}
      kinds = struct('AdditionLayer', 'add', 'MultiplicationLayer', 'multiply');
      layers{end+1} = make(kinds.(kind), name, inputs, none, none);
    case {'DepthConcatenationLayer', 'ConcatenationLayer'}
      check(own, get_or(own, 'Dim', 3) == 3 || rank == 1, 'joins another axis than the channels');
      layers{end+1} = make('concatenate', name, inputs, none, none);
    case {'LSTMLayer', 'GRULayer'}
      layers{end+1} = recurrent(own, kind, inputs);
      if strcmp(own.OutputMode, 'last')
        rank = 1;
      end
    case {'WordEmbeddingLayer', 'EmbeddingLayer'}
      layers = embedding(layers, own, inputs);
    case {'ClassificationOutputLayer', 'RegressionOutputLayer'}
      % These hold the loss; nothing is computed.
    otherwise
      error('%s: a layer of class %s has no plain form', name, kind);
  end
end

function check(own, good, what)
  if ~good
    error('%s: %s, which has no plain form', own.Name, what);
  end
end

function x = double_or_single(x)
% Numbers of a dlarray as they are.
  if ~isa(x, 'double') && ~isa(x, 'single')
    x = extractdata(x);
  end
end

function [layers, rank] = deep_input(layers, own, kind)
  sizes = own.InputSize(:)';
  if strcmp(kind, 'SequenceInputLayer')
    check(own, isscalar(sizes), 'takes sequences of images');
    sizes = [0, sizes]; % any number of steps
  end
  rank = numel(sizes);
  check(own, rank ~= 3 || strcmp(kind, 'ImageInputLayer'), 'takes something else than images');
  layers{end+1} = make('input', own.Name, {}, struct('size', sizes, 'values', 'real'), struct());
  normal = get_or(own, 'Normalization', 'none');
  switch normal
    case 'none'
      return
    case 'zerocenter'
      arrays = struct('from', own.Mean, 'gain', 1, 'to', 0);
    case 'zscore'
      arrays = struct('from', own.Mean, 'gain', 1 ./ own.StandardDeviation, 'to', 0);
    case 'rescale-zero-one'
      arrays = struct('from', own.Min, 'gain', 1 ./ (own.Max - own.Min), 'to', 0);
    case 'rescale-symmetric'
      arrays = struct('from', own.Min, 'gain', 2 ./ (own.Max - own.Min), 'to', -1);
    otherwise
      check(own, false, sprintf('the normalization %s is a function', normal));
  end
  layers{end+1} = make('map', [own.Name '_' strrep(normal, '-', '_')], {own.Name}, struct(), ...
                       structfun(@double, arrays, 'UniformOutput', false));
end

function layer = convolution(own, kind, inputs)
  weights = double_or_single(own.Weights);
  options = struct('stride', own.Stride, 'dilation', get_or(own, 'DilationFactor', [1 1]), ...
                   'bias', true, 'kernel', [size(weights, 1), size(weights, 2)]);
  arrays = struct('bias', double_or_single(own.Bias(:)));
  name = 'conv';
  switch kind
    case 'TransposedConvolution2DLayer'
      name = 'conv_transpose';
      options.filters = size(weights, 3);
      options.padding = edges(own, 'Cropping');
      if ischar(options.padding)
        check(own, all(options.kernel >= options.stride), 'crops less than nothing');
      end
    case 'GroupedConvolution2DLayer'
      options.groups = size(weights, 5);
      options.filters = size(weights, 4) * size(weights, 5);
      options.padding = edges(own, 'Padding');
      weights = reshape(weights, size(weights, 1), size(weights, 2), size(weights, 3), []);
    otherwise
      options.groups = 1;
      options.filters = size(weights, 4);
      options.padding = edges(own, 'Padding');
  end
  if strcmp(name, 'conv')
    value = get_or(own, 'PaddingValue', 0);
    check(own, isnumeric(value) && value == 0, 'pads with something else than 0');
  end
  arrays.weights = weights;
  layer = make(name, own.Name, inputs, options, arrays);
end

function pad = edges(own, what)
% 'same', or [top bottom; left right].
  if strcmp(get_or(own, [what 'Mode'], 'manual'), 'same')
    pad = 'same';
  else
    pad = reshape(get_or(own, [what 'Size'], [0 0 0 0]), 2, 2)';
  end
end

function layer = pooling(own, kind, inputs)
  options = struct('size', own.PoolSize, 'stride', own.Stride, 'padding', edges(own, 'Padding'));
  name = 'max_pool';
  if strcmp(kind, 'AveragePooling2DLayer')
    name = 'average_pool';
    value = get_or(own, 'PaddingValue', 0);
    check(own, strcmp(value, 'mean') || isequal(value, 0), 'pads with something else than 0');
    options.count_padding = ~strcmp(value, 'mean');
  else
    check(own, ~get_or(own, 'HasUnpoolingOutputs', false), 'has outputs for unpooling');
  end
  layer = make(name, own.Name, inputs, options, struct());
end

function layer = batch_norm(own, inputs)
  check(own, ~isempty(own.TrainedMean), 'has no trained mean yet');
  options = struct('epsilon', own.Epsilon, 'keep', 1 - get_or(own, 'MeanDecay', 0.1), ...
                   'unbiased', false);
  arrays = struct('scale', own.Scale(:), 'offset', own.Offset(:), 'mean', own.TrainedMean(:), ...
                  'variance', own.TrainedVariance(:));
  arrays = structfun(@double_or_single, arrays, 'UniformOutput', false);
  layer = make('batch_norm', own.Name, inputs, options, arrays);
end

function layer = layer_norm(own, inputs, rank)
  over = get_or(own, 'OperationDimension', 'auto');
  check(own, strcmp(over, 'channel-only') || (strcmp(over, 'auto') && rank < 3), ...
        'normalises over more than the channels');
  arrays = struct('scale', double_or_single(own.Scale(:)), ...
                  'offset', double_or_single(own.Offset(:)));
  layer = make('layer_norm', own.Name, inputs, struct('epsilon', own.Epsilon), arrays);
end

function layer = recurrent(own, kind, inputs)
  check(own, ~get_or(own, 'HasStateInputs', false) && ~get_or(own, 'HasStateOutputs', false), ...
        'takes or gives its state');
  check(own, ~any(get_or(own, 'HiddenState', 0)) && ~any(get_or(own, 'CellState', 0)), ...
        'begins with a state that is not zero');
  check(own, any(strcmp(own.StateActivationFunction, {'tanh', 'relu'})), ...
        'bends its state by another function than tanh or relu');
  check(own, strcmp(own.GateActivationFunction, 'sigmoid'), 'bends its gates by hard-sigmoid');
  units = own.NumHiddenUnits;
  options = struct('units', units, 'activation', own.StateActivationFunction, 'biases', 1, ...
                   'sequences', strcmp(own.OutputMode, 'sequence'), 'reverse', false, ...
                   'gate_activation', 'sigmoid');
  arrays = struct('input_weights', double_or_single(own.InputWeights), ...
                  'recurrent_weights', double_or_single(own.RecurrentWeights), ...
                  'bias', double_or_single(own.Bias(:)));
  name = 'lstm';
  if strcmp(kind, 'GRULayer')
    name = 'gru';
    mode = get_or(own, 'ResetGateMode', 'after-multiplication');
    options.reset_after = ~strcmp(mode, 'before-multiplication');
    options.candidate_bias = false;
    if strcmp(mode, 'recurrent-bias-after-multiplication')
      options.biases = 2;
      arrays.recurrent_bias = arrays.bias(3*units+1:end);
      arrays.bias = arrays.bias(1:3*units);
    end
  end
  layer = make(name, own.Name, inputs, options, arrays);
end

function layers = embedding(layers, own, inputs)
% Words take the place of the one feature of a sequence, so that the input is of indices.
  first = layers{1};
  check(own, numel(layers) == 1 && isequal(first.options.size, [0 1]), ...
        'does not stand right behind a sequence input of one feature');
  layers{1}.options = struct('size', 0, 'values', 'index');
  weights = double_or_single(own.Weights);
  options = struct('size', size(weights, 2), 'features', size(weights, 1));
  layers{end+1} = make('embedding', own.Name, inputs, options, struct('weights', weights));
end
