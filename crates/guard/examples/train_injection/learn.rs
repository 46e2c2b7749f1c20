//! Stochastic gradient descent for a network of the guard, on one thread, so that the same texts give the same weights.
//!
//! Adam with decoupled decay (Loshchilov and Hutter 2019); rows of words are only touched by batches that have them.
//! Words are left out at random, so that what they stand for is learned as well as they themselves.

use garrison_guard::injection::classifier::CLASSES;
use garrison_guard::injection::features::{MEANING, OF_WORD, Token};
use garrison_guard::injection::meanings::{self, DIRECTIONS};
use garrison_guard::injection::net::{FILTERS, HIDDEN, LENGTHS, Net, PADDING, Pooled, WIDTH};

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
type Places = [u32; 2 * FILTERS];
const NOWHERE: u32 = u32::MAX;

const NEAR: usize = LENGTHS[0] * WIDTH;
const FAR: usize = LENGTHS[1] * WIDTH;

/// The numbers of filters, turned so that those of one lie in a row: a text changes few numbers of each token's
/// neighbours, but all of a filter.
struct Turned {
    near: Vec<[f32; NEAR]>,
    far: Vec<[f32; FAR]>,
}

impl Turned {
    fn zero() -> Turned {
        Turned { near: vec![[0.0; NEAR]; FILTERS], far: vec![[0.0; FAR]; FILTERS] }
    }

    fn fill(&mut self, net: &Net) {
        for f in 0..FILTERS {
            self.near[f].iter_mut().zip(&net.near).for_each(|(w, row)| *w = row[f]);
            self.far[f].iter_mut().zip(&net.far).for_each(|(w, row)| *w = row[f]);
        }
    }

    /// Moves them into `net`; what stays is zero.
    fn empty(&mut self, net: &mut Net) {
        for f in 0..FILTERS {
            self.near[f].iter_mut().zip(&mut net.near).for_each(|(w, row)| row[f] = std::mem::take(w));
            self.far[f].iter_mut().zip(&mut net.far).for_each(|(w, row)| row[f] = std::mem::take(w));
        }
    }

    fn of(&self, f: usize) -> &[f32] {
        if f < FILTERS { &self.near[f] } else { &self.far[f - FILTERS] }
    }

    fn of_mut(&mut self, f: usize) -> &mut [f32] {
        if f < FILTERS { &mut self.near[f] } else { &mut self.far[f - FILTERS] }
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

pub(crate) fn train(examples: &[Example], recipe: &Recipe) -> Net {
    let mut random = Random(recipe.seed);
    let mut net = begin(&mut random);
    let mut adam = Adam {
        gradient: Net::zero(),
        of_filters: Turned::zero(),
        first: Net::zero(),
        second: Net::zero(),
        touched: Vec::new(),
        steps: 0,
    };
    let mut filters = Turned::zero();
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
                loss += backward(&net, &filters, &mut adam, &shown, *class, recipe, &mut random) as f64;
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
fn begin(random: &mut Random) -> Net {
    let mut net = Net::zero();
    let widths = [
        None,
        // Meanings are as large as many rows together, so a part of what others have does.
        Some(64 * DIRECTIONS),
        Some(LENGTHS[0] * WIDTH),
        Some(LENGTHS[1] * WIDTH),
        None,
        Some(2 * FILTERS),
        None,
        Some(HIDDEN),
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
    net.rows[0] = [0.0; WIDTH];
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
    filters: &Turned,
    adam: &mut Adam,
    sentences: &[Vec<Token>],
    class: usize,
    recipe: &Recipe,
    random: &mut Random,
) -> f32 {
    let mut vectors: Vec<Vec<[f32; WIDTH]>> = vec![Vec::new(); sentences.len()];
    for (tokens, vectors) in sentences.iter().zip(&mut vectors) {
        net.vectors(tokens, vectors);
    }
    let (mut pooled, places) = pool(net, &mut vectors);
    let keep = 1.0 - recipe.no_filter as f32 / 100.0;
    let kept: Vec<bool> = (0..2 * FILTERS).map(|_| random.below(100) >= recipe.no_filter).collect();
    pooled.iter_mut().zip(&kept).for_each(|(p, k)| *p = if *k { *p / keep } else { 0.0 });

    let mut hidden = net.hidden_bias;
    for (x, weights) in pooled.iter().zip(&net.hidden) {
        hidden.iter_mut().zip(weights).for_each(|(h, w)| *h += x * w);
    }
    hidden.iter_mut().for_each(|h| *h = h.max(0.0));
    let mut scores = net.out_bias;
    for (x, weights) in hidden.iter().zip(&net.out) {
        scores.iter_mut().zip(weights).for_each(|(c, w)| *c += x * w);
    }
    let top = scores.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
    let sum: f32 = scores.iter().map(|s| (s - top).exp()).sum();
    let wanted = |c: usize| SMOOTHING / CLASSES as f32 + if c == class { 1.0 - SMOOTHING } else { 0.0 };
    let of_scores: [f32; CLASSES] = std::array::from_fn(|c| (scores[c] - top).exp() / sum - wanted(c));
    let loss = top + sum.ln() - scores[class];

    let gradient = &mut adam.gradient;
    gradient.out_bias.iter_mut().zip(of_scores).for_each(|(b, g)| *b += g);
    let mut of_hidden = [0f32; HIDDEN];
    for h in 0..HIDDEN {
        if hidden[h] > 0.0 {
            of_hidden[h] = net.out[h].iter().zip(of_scores).map(|(w, g)| w * g).sum();
            gradient.out[h].iter_mut().zip(of_scores).for_each(|(w, g)| *w += hidden[h] * g);
        }
    }
    gradient.hidden_bias.iter_mut().zip(of_hidden).for_each(|(b, g)| *b += g);
    let mut of_vectors: Vec<Vec<[f32; WIDTH]>> =
        vectors.iter().map(|v| vec![[0.0; WIDTH]; v.len()]).collect();
    for f in 0..2 * FILTERS {
        if places[f] == NOWHERE || !kept[f] {
            continue;
        }
        let (mut sentence, mut at) = (0, places[f] as usize);
        while at >= sentences[sentence].len() {
            at -= sentences[sentence].len();
            sentence += 1;
        }
        let of_filter: f32 = net.hidden[f].iter().zip(of_hidden).map(|(w, g)| w * g).sum::<f32>() / keep;
        gradient.hidden[f].iter_mut().zip(of_hidden).for_each(|(w, g)| *w += pooled[f] * g);
        if of_filter == 0.0 {
            continue;
        }
        gradient.bias[f] += of_filter;
        let length = LENGTHS[f / FILTERS];
        let from = at + PADDING - length / 2;
        let seen = vectors[sentence][from..from + length].as_flattened();
        let of_seen = of_vectors[sentence][from..from + length].as_flattened_mut();
        adam.of_filters.of_mut(f).iter_mut().zip(seen).for_each(|(w, x)| *w += of_filter * x);
        of_seen.iter_mut().zip(filters.of(f)).for_each(|(g, w)| *g += of_filter * w);
    }
    for (tokens, of_vectors) in sentences.iter().zip(&of_vectors) {
        for (token, of_vector) in tokens.iter().zip(&of_vectors[PADDING..]) {
            if of_vector.iter().all(|g| *g == 0.0) {
                continue;
            }
            for (x, of_weights) in meanings::at(token[MEANING]).iter().flatten().zip(&mut gradient.meaning) {
                of_weights.iter_mut().zip(of_vector).for_each(|(w, g)| *w += x * g);
            }
            for row in token[..MEANING].iter().filter(|r| **r > 0) {
                let of_row = &mut gradient.rows[usize::from(*row)];
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
fn pool(net: &Net, vectors: &mut [Vec<[f32; WIDTH]>]) -> (Pooled, Places) {
    let (mut pooled, mut places): (Pooled, Places) = ([0.0; 2 * FILTERS], [NOWHERE; 2 * FILTERS]);
    let (mut answers, mut here) = (Vec::new(), 0);
    for vectors in vectors {
        net.answers(vectors, &mut answers);
        for answers in &answers {
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
                    .map(|row| usize::from(*row) * WIDTH..(usize::from(*row) + 1) * WIDTH)
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
