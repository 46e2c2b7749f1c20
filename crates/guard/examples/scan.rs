//! Scans standard input and prints what is found.
use std::io::Read;
fn main() {
    let mut text = String::new();
    let _ = std::io::stdin().read_to_string(&mut text);
    let scanner = garrison_guard::Scanner::new(&garrison_guard::ScanConfig::default());
    let Ok(scanner) = scanner else { return };
    for f in scanner.scan(&text) {
        println!(
            "{:>5} {:<20} {:>3} {}",
            f.range.start,
            scanner.name(f.entity),
            f.confidence,
            &text[f.range.clone()]
        );
    }
}
