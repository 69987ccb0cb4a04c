//! One decision: hot, cold, in batches, contended; beside `governor` and a dependent cache miss.
#![allow(clippy::unwrap_used)]

mod common;

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use common::chase::Chase;
use common::governed::Governed;
use common::keys::{Random, key, text};
use common::ours::Ours;
use common::{BATCH, Size};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use openclaw_rating::bucket::hash::BucketId;

/// Keys drawn before the clock starts, enough that a pass over them leaves nothing in the caches.
const DRAWN: usize = 1 << 20;

/// Keys in a circle, a batch at a time.
struct Draws<T> {
    drawn: Vec<T>,
    at: usize,
}

impl<T> Draws<T> {
    fn next(&mut self) -> &[T] {
        let at = self.at;
        self.at = (at + BATCH) % self.drawn.len();
        &self.drawn[at..at + BATCH]
    }
}

/// Every figure is for sixteen checks, so that they can be read beside one another.
fn cold(c: &mut Criterion) {
    for size in Size::ALL {
        let mut group = c.benchmark_group(format!("decision/{} keys", size.name));
        group.throughput(Throughput::Elements(BATCH as u64)).measurement_time(Duration::from_secs(3));
        let mut chase = Chase::new(size.bytes());
        group.bench_function("cache miss", |b| b.iter(|| black_box(chase.follow(BATCH))));
        drop(chase);
        our_decisions(&mut group, size);
        let governed = Governed::new(size, text);
        let mut keys = draw_keys(size);
        group.bench_function("governor", |b| {
            b.iter(|| governed.check_all(keys.next()));
        });
        group.finish();
    }
}

fn our_decisions(group: &mut BenchmarkGroup<'_, WallTime>, size: Size) {
    let ours = Ours::new(size);
    let mut keys = draw_keys(size);
    let mut ids: Draws<BucketId> =
        Draws { drawn: keys.drawn.iter().map(|key| ours.id(key.as_bytes())).collect(), at: 0 };
    group.bench_function("single", |b| b.iter(|| ours.decide(ids.next())));
    group.bench_function("batch", |b| b.iter(|| ours.decide_batches(ids.next())));
    group.bench_function("hashed single", |b| {
        b.iter(|| ours.check_all(keys.next()));
    });
    group.bench_function("hashed batch", |b| b.iter(|| ours.check_batches(keys.next())));
}

fn draw_keys(size: Size) -> Draws<String> {
    Draws { drawn: Random::new(3).draw(size.keys(), DRAWN).iter().map(text).collect(), at: 0 }
}

fn hot(c: &mut Criterion) {
    let (ours, governed) = (Ours::new(Size::ALL[0]), Governed::new(Size::ALL[0], text));
    let (name, id) = (text(&key(1)), [ours.id(&key(1))]);
    let mut group = c.benchmark_group("decision/one key");
    group.bench_function("single", |b| b.iter(|| ours.decide(black_box(&id))));
    group.bench_function("hashed single", |b| b.iter(|| ours.check(black_box(name.as_bytes()))));
    group.bench_function("governor", |b| b.iter(|| governed.check(black_box(&name))));
    group.bench_function("two threads", |b| {
        b.iter_custom(|checks| contended(checks, || usize::from(ours.check(black_box(name.as_bytes())))));
    });
    group.bench_function("governor, two threads", |b| {
        b.iter_custom(|checks| contended(checks, || usize::from(governed.check(black_box(&name)))));
    });
    group.finish();
}

/// How long two threads take that make `checks` each.
fn contended(checks: u64, check: impl Fn() -> usize + Sync) -> Duration {
    let start = Barrier::new(3);
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| {
            scope.spawn(|| {
                start.wait();
                (0..checks).map(|_| check()).sum::<usize>()
            })
        });
        start.wait();
        let began = Instant::now();
        for thread in threads {
            black_box(thread.join().unwrap());
        }
        began.elapsed()
    })
}

criterion_group!(benches, hot, cold);
criterion_main!(benches);
