function y = image_by_hand(net, x)
% The same from what MATLAB documents of each layer, one sample and one number at a time.
  L = net.Layers;
  for n = 1:size(x, 4)
    z = (x(:, :, :, n) - L{1}.Mean) ./ L{1}.StandardDeviation;
    relu = max(0, slide(z, L{2}, double(L{2}.Weights), double(L{2}.Bias(:)), [1 0 2 1]));
    grouped = zeros(size(relu));
    for g = 1:2
      part = slide(relu(:, :, 2*g-1:2*g), L{4}, double(L{4}.Weights(:, :, :, :, g)), ...
                   double(L{4}.Bias(:, :, :, g)), [1 1 1 1]);
      grouped(:, :, 2*g-1:2*g) = part;
    end
    b = structfun(@numbers, L{5}, 'UniformOutput', false);
    for c = 1:4
      grouped(:, :, c) = (grouped(:, :, c) - b.TrainedMean(c)) / ...
                         sqrt(b.TrainedVariance(c) + b.Epsilon) * b.Scale(c) + b.Offset(c);
    end
    up = spread(grouped + relu, L{7});
    pooled = windows(up, L{8}, @(v) max(v(:)));
    average = windows(pooled, L{9}, @(v) mean(v(:)));
    both = cat(3, min(max(average, 0), 2.5), max(average, 0.2 * average));
    s = double(L{14}.Weights) * both(:) + double(L{14}.Bias);
    y(:, n) = exp(s) / sum(exp(s));
  end
end

function v = numbers(v)
  if isnumeric(v)
    v = double(v);
  end
end

function y = slide(x, layer, weights, bias, pad)
% pad is [top bottom left right].
  big = zeros(size(x, 1) + pad(1) + pad(2), size(x, 2) + pad(3) + pad(4), size(x, 3));
  big(pad(1) + (1:size(x, 1)), pad(3) + (1:size(x, 2)), :) = x;
  span = layer.DilationFactor .* ([size(weights, 1), size(weights, 2)] - 1) + 1;
  for o = 1:size(weights, 4)
    for i = 1:floor((size(big, 1) - span(1)) / layer.Stride(1)) + 1
      for j = 1:floor((size(big, 2) - span(2)) / layer.Stride(2)) + 1
        r = (i - 1) * layer.Stride(1) + (1:layer.DilationFactor(1):span(1));
        c = (j - 1) * layer.Stride(2) + (1:layer.DilationFactor(2):span(2));
        patch = big(r, c, :) .* weights(:, :, :, o);
        y(i, j, o) = sum(patch(:)) + bias(o);
      end
    end
  end
end

function y = spread(x, layer)
  w = double(layer.Weights);
  y = zeros((size(x, 1) - 1) * layer.Stride(1) + size(w, 1), ...
            (size(x, 2) - 1) * layer.Stride(2) + size(w, 2), size(w, 3));
  for i = 1:size(x, 1)
    for j = 1:size(x, 2)
      for c = 1:size(x, 3)
        r = (i - 1) * layer.Stride(1) + (1:size(w, 1));
        q = (j - 1) * layer.Stride(2) + (1:size(w, 2));
        y(r, q, :) = y(r, q, :) + x(i, j, c) * w(:, :, :, c);
      end
    end
  end
  crop = layer.CroppingSize;
  y = y(1+crop(1):end-crop(2), 1+crop(3):end-crop(4), :);
  for o = 1:size(y, 3)
    y(:, :, o) = y(:, :, o) + double(layer.Bias(o));
  end
end

function y = windows(x, layer, reduce)
% Pixels outside the image are left out of every window.
  pad = layer.PaddingSize;
  big = NaN(size(x, 1) + pad(1) + pad(2), size(x, 2) + pad(3) + pad(4), size(x, 3));
  big(pad(1) + (1:size(x, 1)), pad(3) + (1:size(x, 2)), :) = x;
  for k = 1:size(x, 3)
    for i = 1:floor((size(big, 1) - layer.PoolSize(1)) / layer.Stride(1)) + 1
      for j = 1:floor((size(big, 2) - layer.PoolSize(2)) / layer.Stride(2)) + 1
        v = big((i - 1) * layer.Stride(1) + (1:layer.PoolSize(1)), ...
                (j - 1) * layer.Stride(2) + (1:layer.PoolSize(2)), k);
        y(i, j, k) = reduce(v(~isnan(v)));
      end
    end
  end
end
