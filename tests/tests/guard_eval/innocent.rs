//! Numbers and names that are nobody's: what the guard must leave alone.

use super::draw::Draw;
use super::frames::Set;
use super::{eighth_frames, fifth, ninth_frames, seventh_frames, sixth, tenth_frames};

const DEVELOPMENT: &[&str] = &[
    "Order {9} was shipped.",
    "Your order number is {10}.",
    "Invoice {8} is due.",
    "tracking no. {12}",
    "Build {5} of version {1}.{2}.{1}",
    "It took {3} ms at {T}.",
    "epoch {E} to {E}",
    "SKU {8}-{3}",
    "part number {A}{A}-{5}",
    "commit {H40}",
    "request id {U}",
    "ISBN 978-{1}-{2}-{6}-{1}",
    "s3://logs-{4}/2031/03/12/part-{5}.gz",
    "The total is ${3},{3}.{2}.",
    "error code {6} on line {4}",
    "Lot {10}, batch {8}",
    "sha256: {H64}",
    "Bestellnummer {9}",
    "Rechnung {10} vom {D}",
    "numéro de commande {9}",
    "pedido {8}",
    "Ticket {9} was closed on {D}.",
    "session {16} ended",
    "arn:aws:ec2:us-east-1:{12}:instance/i-{H17}",
    "population of {1},{3},{3}",
    "offset {8} of {9} bytes",
];
/// These judged the three draws before.
const EARLIER: &[&str] = &[
    "We shipped order no. {9} yesterday.",
    "Purchase order {10} is late.",
    "See invoice {9}, page {2}.",
    "Shipment {12} left {4} pallets behind.",
    "firmware {2}.{1}.{2}.{1} fixes this",
    "Started at {T}, ended at {T}.",
    "timestamp={E}000",
    "serial number {A}{A}{8}",
    "item {6}/{3}",
    "revision {H40} broke it",
    "trace {H32}",
    "uuid: {U}",
    "gs://bucket-{3}/{4}/{2}/file_{9}.parquet",
    "Price: {3}.{2} EUR, was {4}.{2} EUR",
    "container {A}{A}{A}{A}{7}",
    "row {7}, column {2}",
    "etag \"{H32}\"",
    "Artikelnummer {10}",
    "Sendungsnummer {12}",
    "facture n° {8}",
    "ordine {9}",
    "bestelling {9}",
    "fakturanummer {10}",
    "transaction id {16}",
    "epoch {E}, uptime {6} s",
    "model {A}{A}-{4} costs {3} dollars",
];

/// These judged the fourth draw.
const FOURTH: &[&str] = &[
    "claim {9}/{2} was settled",
    "Meter reading {6}.{1} kWh on {D}",
    "ticket {A}{A}{A}{A}-{4} moved to review",
    "The asteroid {5} passes at {6} km.",
    "Zählerstand {7}, Vorgang {9}",
    "chapter {2}, verse {2}, page {3}",
    "ean {13}",
    "{T} ERROR worker-{2} exit code {3}",
    "docker image {H12} pushed at {E}",
    "object {H24} not found in collection {8}",
    "az://store{3}/blob-{9}/{2}.json",
    "bus line {3} leaves every {2} minutes",
    "Bauteil {A}{3}-{6} ist bestellt",
    "référence {A}{A}{8}",
    "expediente {4}/{4}",
    "pratica n. {8} del {D}",
    "dossier {9} gesloten",
    "saksnummer {4}/{5}",
    "zlecenie {10}",
    "batch {8} of {10} units, {2} rejected",
    "pid {5}, port {4}, uid {4}",
    "case no. {2}-{5}",
    "latitude {2}.{6}, longitude {1}.{6}",
    "span {H16} took {6} us",
    "budget {3},{3},{3} for {4}",
    "flight {A}{A}{4}, gate {A}{2}, seat {2}{A}",
    "Losnummer {8}, Charge {10}",
    "checksum crc32 {H8}",
    "room {3}, floor {1}, capacity {3}",
    "isbn {13}, {3} pages",
];

/// A text with nothing in it.
pub(crate) fn text(set: Set, draw: &mut Draw) -> String {
    let frame = match set {
        Set::Development => draw.pick(&[DEVELOPMENT, EARLIER, FOURTH].concat()),
        Set::Fifth => draw.pick(fifth::INNOCENT),
        Set::Sixth => draw.pick(sixth::INNOCENT),
        Set::Seventh => draw.pick(seventh_frames::INNOCENT),
        Set::Eighth => draw.pick(eighth_frames::INNOCENT),
        Set::Ninth => draw.pick(ninth_frames::INNOCENT),
        Set::Tenth => draw.pick(tenth_frames::INNOCENT),
    };
    let (mut out, mut rest) = (String::new(), frame);
    while let Some((before, after)) = rest.split_once('{') {
        let (kind, after) = after.split_once('}').expect("a closing brace");
        out += before;
        rest = after;
        out += &match kind {
            "A" => draw.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1),
            "D" => format!("{:02}.{:02}.20{}", draw.range(1, 28), draw.range(1, 12), draw.range(10, 31)),
            "T" => format!(
                "2031-{:02}-{:02}T{:02}:{:02}:{:02}.{}Z",
                draw.range(1, 12),
                draw.range(1, 28),
                draw.range(0, 23),
                draw.range(0, 59),
                draw.range(0, 59),
                draw.digits(6)
            ),
            "E" => draw.range(1_600_000_000, 1_900_000_000).to_string(),
            "U" => [8, 4, 4, 4, 12].map(|n| draw.of("0123456789abcdef", n)).join("-"),
            hex if hex.starts_with('H') => draw.of("0123456789abcdef", hex[1..].parse().expect("a length")),
            digits => {
                let length = digits.parse::<usize>().expect("a length");
                draw.of("123456789", 1) + &draw.digits(length - 1)
            }
        };
    }
    out + rest
}
