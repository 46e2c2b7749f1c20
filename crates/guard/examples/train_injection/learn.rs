//! Stochastic gradient descent for a network of the guard, on one thread, so that the same texts give the same weights.
//!
//! Adam with decoupled decay (Loshchilov and Hutter 2019); rows of words are only touched by batches that have them.
//! Words are left out at random, so that what they stand for is learned as well as they themselves.

use garrison_guard::injection::classifier::CLASSES;
use garrison_guard::injection::features::{MEANING, OF_WORD, Token};
use garrison_guard::injection::meanings::{self, DIRECTIONS};
use garrison_guard::injection::net::{LENGTHS, Net, PADDING, Shape};

use crate::corpus::Random;

/// Sentences of a window and its class.
pub(crate) type Example = (Vec<Vec<Token>>, usize);

pub(crate) struct Recipe {
    pub(crate) epochs: usize,
    pub(crate) rate: f32,
    pub(crate) decay: f32,
    /// How many tokens of a hundred lose their word, what it stands for, and both.
    pub(crate) no_word: usize,
    pub(crate) no_meaning: usize,
    pub(crate) nothing: usize,
    /// How many lose what an encoder says that they mean.
    pub(crate) no_sense: usize,
    /// How many filters of a hundred are left out.
    pub(crate) no_filter: usize,
    pub(crate) seed: u64,
}

const BATCH: usize = 64;
/// What a class that is right wants less than one, and others more than none.
const SMOOTHING: f32 = 0.02;

/// Where each filter answered most, of all tokens of all sentences; `NOWHERE` where it answered nothing.
type Places = Vec<u32>;
const NOWHERE: u32 = u32::MAX;

/// The numbers of filters, `[2 * filters][what one sees]`, turned so that those of one lie in a row: a text changes few
/// numbers of each token's neighbours, but all of a filter.
struct Turned {
    shape: Shape,
    near: Vec<f32>,
    far: Vec<f32>,
}

impl Turned {
    fn zero(shape: Shape) -> Turned {
        let [near, far] = LENGTHS.map(|length| vec![0.0; length * shape.width * shape.filters]);
        Turned { shape, near, far }
    }

    fn fill(&mut self, net: &Net) {
        turn(&net.near, &mut self.near, self.shape.filters);
        turn(&net.far, &mut self.far, self.shape.filters);
    }

    /// Moves them into `net`; what stays is zero.
    fn empty(&mut self, net: &mut Net) {
        let [near, far] = LENGTHS.map(|length| length * self.shape.width);
        turn(&self.near, &mut net.near, near);
        turn(&self.far, &mut net.far, far);
        self.near.fill(0.0);
        self.far.fill(0.0);
    }

    /// Those of a filter, and how many tokens it sees.
    fn of(&mut self, f: usize) -> (&mut [f32], usize) {
        let Shape { width, filters, .. } = self.shape;
        let part = f / filters;
        let all = if part == 0 { &mut self.near } else { &mut self.far };
        let sees = LENGTHS[part] * width;
        (&mut all[(f % filters) * sees..][..sees], LENGTHS[part])
    }
}

/// `to[column][row] = from[row][column]`
fn turn(from: &[f32], to: &mut [f32], columns: usize) {
    let rows = from.len() / columns;
    for (row, numbers) in from.chunks_exact(columns).enumerate() {
        numbers.iter().zip(to[row..].iter_mut().step_by(rows)).for_each(|(x, y)| *y = *x);
    }
}

/// Gradients and their moments, in the shape of the network.
struct Adam {
    gradient: Net,
    /// Those of the filters, until the batch is done.
    of_filters: Turned,
    first: Net,
    second: Net,
    /// Rows that this batch has touched.
    touched: Vec<u16>,
    steps: i32,
}

pub(crate) fn train(examples: &[Example], shape: Shape, recipe: &Recipe) -> Net {
    let mut random = Random(recipe.seed);
    let mut net = begin(shape, &mut random);
    let mut adam = Adam {
        gradient: Net::zero(shape),
        of_filters: Turned::zero(shape),
        first: Net::zero(shape),
        second: Net::zero(shape),
        touched: Vec::new(),
        steps: 0,
    };
    let mut filters = Turned::zero(shape);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    let total = recipe.epochs * examples.len().div_ceil(BATCH);
    for epoch in 0..recipe.epochs {
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
        let mut loss = 0.0;
        for batch in order.chunks(BATCH) {
            filters.fill(&net);
            for i in batch {
                let (sentences, class) = &examples[*i];
                let shown = left_out(sentences, recipe, &mut random);
                loss += backward(&net, &mut filters, &mut adam, &shown, *class, recipe, &mut random) as f64;
            }
            let done = adam.steps as f32 / total as f32;
            let rate = recipe.rate * if done < 0.1 { done * 10.0 } else { (1.0 - done) / 0.9 };
            adam.step(&mut net, rate.max(1e-6), recipe.decay, batch.len());
        }
        eprintln!("network {}, epoch {epoch}: loss {:.4}", recipe.seed, loss / examples.len() as f64);
    }
    net
}

/// Small random weights, as wide as their inputs ask for (He et al. 2015).
fn begin(shape: Shape, random: &mut Random) -> Net {
    let mut net = Net::zero(shape);
    let widths = [
        None,
        // Meanings are as large as many rows together, so a part of what others have does.
        Some(64 * DIRECTIONS),
        Some(LENGTHS[0] * shape.width),
        Some(LENGTHS[1] * shape.width),
        None,
        Some(2 * shape.filters),
        None,
        Some(shape.hidden),
        None,
    ];
    for (n, (table, width)) in net.tables().into_iter().zip(widths).enumerate() {
        let scale = match width {
            Some(width) => (2.0 / width as f32).sqrt(),
            None if n == 0 => 0.1,
            None => 0.0,
        };
        for w in table {
            // Three uniform numbers are near enough to a normal one.
            let uniform = |random: &mut Random| random.below(2001) as f32 / 1000.0 - 1.0;
            *w = scale * (uniform(random) + uniform(random) + uniform(random));
        }
    }
    net.rows[..shape.width].fill(0.0);
    net
}

fn left_out(sentences: &[Vec<Token>], recipe: &Recipe, random: &mut Random) -> Vec<Vec<Token>> {
    let token = |token: &Token, random: &mut Random| {
        let mut token = *token;
        let draw = random.below(100);
        let (word, meaning) = (recipe.no_word, recipe.no_word + recipe.no_meaning);
        match draw {
            d if d < word => token[..OF_WORD].fill(0),
            d if d < meaning => token[OF_WORD..].fill(0),
            d if d < meaning + recipe.nothing => token.fill(0),
            _ => {}
        }
        if random.below(100) < recipe.no_sense {
            token[MEANING] = 0;
        }
        token
    };
    sentences.iter().map(|s| s.iter().map(|t| token(t, random)).collect()).collect()
}

/// Adds the gradient of one example; its loss.
fn backward(
    net: &Net,
    filters: &mut Turned,
    adam: &mut Adam,
    sentences: &[Vec<Token>],
    class: usize,
    recipe: &Recipe,
    random: &mut Random,
) -> f32 {
    let Shape { width, filters: count, hidden: hiddens } = net.shape;
    let mut vectors: Vec<Vec<f32>> = vec![Vec::new(); sentences.len()];
    for (tokens, vectors) in sentences.iter().zip(&mut vectors) {
        net.vectors(tokens, vectors);
    }
    let (mut pooled, places) = pool(net, &mut vectors);
    let keep = 1.0 - recipe.no_filter as f32 / 100.0;
    let kept: Vec<bool> = pooled.iter().map(|_| random.below(100) >= recipe.no_filter).collect();
    pooled.iter_mut().zip(&kept).for_each(|(p, k)| *p = if *k { *p / keep } else { 0.0 });

    let mut hidden = net.hidden_bias.clone();
    for (x, weights) in pooled.iter().zip(net.hidden.chunks_exact(hiddens)) {
        hidden.iter_mut().zip(weights).for_each(|(h, w)| *h += x * w);
    }
    hidden.iter_mut().for_each(|h| *h = h.max(0.0));
    let mut scores = net.out_bias.clone();
    for (x, weights) in hidden.iter().zip(net.out.chunks_exact(CLASSES)) {
        scores.iter_mut().zip(weights).for_each(|(c, w)| *c += x * w);
    }
    let top = scores.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
    let sum: f32 = scores.iter().map(|s| (s - top).exp()).sum();
    let wanted = |c: usize| SMOOTHING / CLASSES as f32 + if c == class { 1.0 - SMOOTHING } else { 0.0 };
    let of_scores: [f32; CLASSES] = std::array::from_fn(|c| (scores[c] - top).exp() / sum - wanted(c));
    let loss = top + sum.ln() - scores[class];

    let gradient = &mut adam.gradient;
    gradient.out_bias.iter_mut().zip(of_scores).for_each(|(b, g)| *b += g);
    let mut of_hidden = vec![0f32; hiddens];
    let outs = net.out.chunks_exact(CLASSES).zip(gradient.out.chunks_exact_mut(CLASSES));
    for ((x, of_x), (weights, of_weights)) in hidden.iter().zip(&mut of_hidden).zip(outs) {
        if *x > 0.0 {
            *of_x = weights.iter().zip(of_scores).map(|(w, g)| w * g).sum();
            of_weights.iter_mut().zip(of_scores).for_each(|(w, g)| *w += x * g);
        }
    }
    gradient.hidden_bias.iter_mut().zip(&of_hidden).for_each(|(b, g)| *b += g);
    let mut of_vectors: Vec<Vec<f32>> = vectors.iter().map(|v| vec![0.0; v.len()]).collect();
    for f in 0..2 * count {
        if places[f] == NOWHERE || !kept[f] {
            continue;
        }
        let weights = &net.hidden[f * hiddens..][..hiddens];
        let of_filter: f32 = weights.iter().zip(&of_hidden).map(|(w, g)| w * g).sum::<f32>() / keep;
        let of_weights = &mut gradient.hidden[f * hiddens..][..hiddens];
        of_weights.iter_mut().zip(&of_hidden).for_each(|(w, g)| *w += pooled[f] * g);
        if of_filter == 0.0 {
            continue;
        }
        gradient.bias[f] += of_filter;
        let (mut sentence, mut at) = (0, places[f] as usize);
        while at >= sentences[sentence].len() {
            at -= sentences[sentence].len();
            sentence += 1;
        }
        let (weights, length) = filters.of(f);
        let seen = (at + PADDING - length / 2) * width..(at + PADDING - length / 2 + length) * width;
        let of_seen = &mut of_vectors[sentence][seen.clone()];
        of_seen.iter_mut().zip(weights).for_each(|(g, w)| *g += of_filter * *w);
        let seen = &vectors[sentence][seen];
        adam.of_filters.of(f).0.iter_mut().zip(seen).for_each(|(w, x)| *w += of_filter * x);
    }
    for (tokens, of_vectors) in sentences.iter().zip(&of_vectors) {
        for (token, of_vector) in tokens.iter().zip(of_vectors[PADDING * width..].chunks_exact(width)) {
            if of_vector.iter().all(|g| *g == 0.0) {
                continue;
            }
            let of_meaning = gradient.meaning.chunks_exact_mut(width);
            for (x, of_weights) in meanings::at(token[MEANING]).iter().flatten().zip(of_meaning) {
                of_weights.iter_mut().zip(of_vector).for_each(|(w, g)| *w += x * g);
            }
            for row in token[..MEANING].iter().filter(|r| **r > 0) {
                let of_row = &mut gradient.rows[usize::from(*row) * width..][..width];
                if of_row.iter().all(|g| *g == 0.0) {
                    adam.touched.push(*row);
                }
                of_row.iter_mut().zip(of_vector).for_each(|(r, g)| *r += g);
            }
        }
    }
    loss
}

/// As `Net::pool`, over all sentences, with where.
fn pool(net: &Net, vectors: &mut [Vec<f32>]) -> (Vec<f32>, Places) {
    let count = 2 * net.shape.filters;
    let (mut pooled, mut places) = (vec![0.0; count], vec![NOWHERE; count]);
    let (mut answers, mut here) = (Vec::new(), 0);
    for vectors in vectors {
        net.answers(vectors, &mut answers);
        for answers in answers.chunks_exact(count) {
            for ((best, place), answer) in pooled.iter_mut().zip(&mut places).zip(answers) {
                let better = answer > best;
                *best = if better { *answer } else { *best };
                *place = if better { here } else { *place };
            }
            here += 1;
        }
    }
    (pooled, places)
}

impl Adam {
    fn step(&mut self, net: &mut Net, rate: f32, decay: f32, batch: usize) {
        self.steps += 1;
        self.of_filters.empty(&mut self.gradient);
        let width = net.shape.width;
        let correct = [0.9f32, 0.999].map(|beta| 1.0 - beta.powi(self.steps));
        let scale = 1.0 / batch as f32;
        let update = |w: &mut f32, g: &mut f32, m: &mut f32, v: &mut f32| {
            let gradient = std::mem::take(g) * scale;
            *m = 0.9 * *m + 0.1 * gradient;
            *v = 0.999 * *v + 0.001 * gradient * gradient;
            *w -= rate * (*m / correct[0] / ((*v / correct[1]).sqrt() + 1e-8) + decay * *w);
        };
        let tables = net.tables().into_iter().zip(self.gradient.tables());
        let moments = self.first.tables().into_iter().zip(self.second.tables());
        for (n, ((weights, gradients), (first, second))) in tables.zip(moments).enumerate() {
            // The first table is that of rows.
            let ranges: Vec<_> = match n {
                0 => self
                    .touched
                    .iter()
                    .map(|row| usize::from(*row) * width..(usize::from(*row) + 1) * width)
                    .collect(),
                _ => std::iter::once(0..weights.len()).collect(),
            };
            for range in ranges {
                let both = weights[range.clone()].iter_mut().zip(&mut gradients[range.clone()]);
                let moments = first[range.clone()].iter_mut().zip(&mut second[range]);
                both.zip(moments).for_each(|((w, g), (m, v))| update(w, g, m, v));
            }
        }
        self.touched.clear();
    }
}
