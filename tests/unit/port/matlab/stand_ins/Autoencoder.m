classdef Autoencoder
% Stands in for what trainAutoencoder returns: the same properties and methods, with data inside that
% only network() gives.
  properties
    HiddenSize
    EncoderTransferFunction
    EncoderWeights
    EncoderBiases
    DecoderTransferFunction
    DecoderWeights
    DecoderBiases
    ScaleData = true
  end
  properties (SetAccess = private)
    Inner
  end
  methods
    function self = Autoencoder(inner)
      self.Inner = inner;
      self.HiddenSize = numel(inner.b{1});
      self.EncoderTransferFunction = inner.layers{1}.transferFcn;
      self.EncoderWeights = inner.IW{1, 1};
      self.EncoderBiases = inner.b{1};
      self.DecoderTransferFunction = inner.layers{2}.transferFcn;
      self.DecoderWeights = inner.LW{2, 1};
      self.DecoderBiases = inner.b{2};
    end
    function net = network(self)
      net = self.Inner;
    end
    function y = predict(self, x)
      y = shallow_by_hand(self.Inner, x);
    end
  end
end
