% A sparse autoencoder trained by scaled conjugate gradient, in plain Octave.
%
% The objective is the one that trainAutoencoder documents, the algorithm is Moller's of 1993, both
% written from their formulas, apart from the Python code that is tested with this. Samples stand in
% columns, weights are (out, in), logsig in both layers.
%
%   octave-cli --eval "trainscg_autoencoder('in.mat', 'out.mat')"
%
% in.mat: X, T, V (samples to learn from, their targets, and others), W1, b1, W2, b2, epochs, l2,
% beta, rho, sigma, lambda. out.mat: the loss, its three terms and the gradient's length after each
% epoch, the weights after the last, and what they make of V.

function trainscg_autoencoder(source, target)
  given = load(source);
  sizes = {size(given.W1), size(given.b1), size(given.W2), size(given.b2)};
  w = [given.W1(:); given.b1(:); given.W2(:); given.b2(:)];
  n = numel(w);

  [E, g] = objective(w, sizes, given);
  r = -g;
  p = r;
  success = true;
  lambda = given.lambda;
  lambda_bar = 0;
  delta = 0;
  first_loss = E;
  losses = zeros(given.epochs, 1);
  terms = zeros(given.epochs, 3);
  lengths = zeros(given.epochs, 1);

  for k = 1:given.epochs
    p2 = p' * p;
    if success
      sigma_k = given.sigma / sqrt(p2);
      [~, g_near] = objective(w + sigma_k * p, sizes, given);
      s = (g_near - g) / sigma_k;
      delta = p' * s;
    end
    delta = delta + (lambda - lambda_bar) * p2;
    if delta <= 0
      lambda_bar = 2 * (lambda - delta / p2);
      delta = -delta + lambda * p2;
      lambda = lambda_bar;
    end
    mu = p' * r;
    alpha = mu / delta;
    [E_new, g_new] = objective(w + alpha * p, sizes, given);
    Delta = 2 * delta * (E - E_new) / mu ^ 2;
    if Delta >= 0
      w = w + alpha * p;
      E = E_new;
      g = g_new;
      r_new = -g;
      lambda_bar = 0;
      success = true;
      if mod(k, n) == 0
        p = r_new;
      else
        p = r_new + ((r_new' * r_new - r_new' * r) / mu) * p;
      end
      r = r_new;
      if Delta >= 0.75
        lambda = lambda / 4;
      end
    else
      lambda_bar = lambda;
      success = false;
    end
    if Delta < 0.25
      lambda = lambda + delta * (1 - Delta) / p2;
    end
    losses(k) = E;
    [~, ~, terms(k, :)] = objective(w, sizes, given);
    lengths(k) = norm(g);
  end

  [W1, b1, W2, b2] = unpack(w, sizes);
  Y = logsig_(W2 * logsig_(W1 * given.V + b1) + b2);
  save('-v7', target, 'first_loss', 'losses', 'terms', 'lengths', 'W1', 'b1', 'W2', 'b2', 'Y');
end

function [E, g, terms] = objective(w, sizes, given)
  % E = 1/N sum (y - t)^2 + l2 / 2 sum W^2 + beta sum KL(rho, mean activation)
  [W1, b1, W2, b2] = unpack(w, sizes);
  N = columns(given.X);
  H = logsig_(W1 * given.X + b1);
  Y = logsig_(W2 * H + b2);
  m = mean(H, 2);
  rho = given.rho;
  kl = rho * log(rho ./ m) + (1 - rho) * log((1 - rho) ./ (1 - m));
  terms = [sum(sum((Y - given.T) .^ 2)) / N, (sum(W1(:) .^ 2) + sum(W2(:) .^ 2)) / 2, sum(kl)];
  E = terms * [1; given.l2; given.beta];

  slope = given.beta * ((1 - rho) ./ (1 - m) - rho ./ m) / N;
  D2 = 2 / N * (Y - given.T) .* Y .* (1 - Y);
  D1 = (W2' * D2 + slope) .* H .* (1 - H);
  G1 = D1 * given.X' + given.l2 * W1;
  G2 = D2 * H' + given.l2 * W2;
  g = [G1(:); sum(D1, 2); G2(:); sum(D2, 2)];
end

function varargout = unpack(w, sizes)
  start = 0;
  for i = 1:numel(sizes)
    count = prod(sizes{i});
    varargout{i} = reshape(w(start + 1:start + count), sizes{i});
    start = start + count;
  end
end

function y = logsig_(x)
  y = 1 ./ (1 + exp(-x));
end
