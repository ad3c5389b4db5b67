function net = shallow_net(first, last, skip)
% Fields as a feedforwardnet(4) or a cascadeforwardnet(4) of five inputs and three outputs has them;
% an input and an output are constant, and mapminmax scales the rest.
  scale = @(n, low) struct('name', 'mapminmax', 'xoffset', randn(n, 1), 'gain', 0.5 + rand(n, 1), ...
                           'ymin', low, 'no_change', false);
  rows = @(keep, remove, constants) struct('keep', keep, 'remove', remove, 'constants', ...
                                           constants, 'no_change', isempty(remove));
  fcns = {'fixunknowns', 'removeconstantrows', 'mapminmax'};
  in = struct('size', 5, 'processFcns', {fcns(2:3)}, ...
              'processSettings', {{rows([1 2 4 5], 3, 0.7), scale(4, -1)}});
  out = struct('size', 3, 'processFcns', {fcns(2:3)}, ...
               'processSettings', {{rows([1 3], 2, 4.2), scale(2, -1)}});
  weight = struct('delays', 0, 'weightFcn', 'dotprod');
  net = struct('class_name', 'network', 'numInputs', 1, 'numLayers', 2, 'outputConnect', [0 1], ...
               'biasConnect', [1; 1], 'inputConnect', [1; skip], 'layerConnect', [0 0; 1 0]);
  net.inputs = {in};
  net.outputs = {[], out};
  net.layers = {struct('transferFcn', first, 'netInputFcn', 'netsum'), ...
                struct('transferFcn', last, 'netInputFcn', 'netsum')};
  if skip % mapstd scales as mapminmax does, to a mean instead of a minimum
    net.outputs{2}.processFcns{2} = 'mapstd';
    s = net.outputs{2}.processSettings{2};
    net.outputs{2}.processSettings{2} = struct('xoffset', s.xoffset, 'gain', s.gain, ...
                                               'ymean', 0.3, 'no_change', false);
  end
  net.inputWeights = {weight; weight};
  net.layerWeights = {[], []; weight, []};
  net.IW = {randn(4, 4); []};
  if skip
    net.IW{2, 1} = randn(2, 4);
  end
  net.LW = {[], []; randn(2, 4), []};
  net.b = {randn(4, 1); randn(2, 1)};
end
