//! Bytes in and bytes out: hash of a key, parse of a request, and a whole connection step in memory.
#![allow(clippy::unwrap_used)]

mod common;

use std::hint::black_box;
use std::sync::Arc;

use common::keys::{Random, key};
use common::{BATCH, Size, ours};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use openclaw_rating::api::{CoreService, ServiceParts};
use openclaw_rating::bucket::table::{BucketTable, OnTableFull, TableConfig};
use openclaw_rating::data_plane::Service;
use openclaw_rating::health::Health;
use openclaw_rating::http::{ConnectionState, Frame, HttpLimits, OutputBuffer};
use openclaw_rating::metrics::core::CoreMetrics;
use openclaw_rating::metrics::latency::histogram_exchange;
use openclaw_rating::time::MonotonicNs;

const NOW: MonotonicNs = MonotonicNs(1_000_000_000);
const OUTPUT_BYTES: usize = 64 * 1024;

fn hash(c: &mut Criterion) {
    let policies = ours::policies();
    let policy = policies.iter().next().unwrap();
    let mut group = c.benchmark_group("hash");
    for bytes in [8, 16, 64, 512] {
        let key = vec![b'k'; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes} bytes"), |b| {
            b.iter(|| policies.bucket_id(policy, black_box(&key)));
        });
    }
    group.finish();
}

fn request(number: usize, headers: &str) -> String {
    let key = key(number);
    let key = std::str::from_utf8(&key).unwrap();
    format!("GET /v1/check/default/{key} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n{headers}\r\n")
}

/// What a browser or a proxy adds.
const MANY_HEADERS: &str = "User-Agent: curl/8.5.0\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate, br\r\n\
    X-Forwarded-For: 192.0.2.1\r\nX-Request-Id: 0c7a6a1e-9f3b-4a55-8d5a-4f2f3f6f9f11\r\n\
    Connection: keep-alive\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";

fn parse(c: &mut Criterion) {
    let limits = HttpLimits::default();
    let mut group = c.benchmark_group("parse");
    for (name, headers) in [("one header", ""), ("eight headers", MANY_HEADERS)] {
        let request = request(1, headers);
        group.throughput(Throughput::Bytes(request.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut connection = ConnectionState::default();
                let frame = connection.next_request(black_box(request.as_bytes()), &limits);
                matches!(frame, Ok(Frame::Complete(_)))
            });
        });
    }
    group.finish();
}

fn service() -> CoreService {
    let policies = Arc::new(ours::policies());
    let table = TableConfig { lines: Size::ALL[0].lines, on_full: OnTableFull::Deny };
    let table = BucketTable::new(table).unwrap();
    table.publish_limits(&policies);
    CoreService::new(ServiceParts {
        table: Arc::new(table),
        log: None,
        policies,
        limits: HttpLimits::default(),
        metrics: Arc::new(CoreMetrics::new()),
        histograms: histogram_exchange().0,
        health: Arc::new(Health::default()),
        region: "bench".to_owned(),
        version: "bench",
    })
}

fn render(c: &mut Criterion) {
    let mut service = service();
    let mut output = vec![0; OUTPUT_BYTES];
    let mut group = c.benchmark_group("render");
    group.bench_function("numbers", |b| {
        b.iter(|| {
            let mut out = OutputBuffer::new(&mut output);
            for number in [9, 99, 10_000_000, 2_147_483_648] {
                out.put_decimal(black_box(number));
            }
            out.len()
        });
    });
    group.bench_function("an error", |b| {
        b.iter(|| service.timed_out(&mut ConnectionState::default(), b"", &mut output));
    });
    group.finish();
}

/// Parse, hash, decide and render, as a data thread does with what one receive brought.
fn step(c: &mut Criterion) {
    let mut service = service();
    let mut output = vec![0; OUTPUT_BYTES];
    let mut random = Random::new(4);
    let mut group = c.benchmark_group("step");
    for (name, requests) in [("1 request", 1), ("16 requests", BATCH)] {
        let keys = Size::ALL[0].keys();
        let input: String = (0..requests).map(|_| request(random.below(keys), "")).collect();
        let mut connection = ConnectionState::default();
        group.throughput(Throughput::Elements(requests as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let step = service.step(&mut connection, black_box(input.as_bytes()), &mut output, NOW);
                assert_eq!(step.answered as usize, requests);
                step.written
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hash, parse, render, step);
criterion_main!(benches);
