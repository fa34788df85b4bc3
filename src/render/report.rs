//! A comparison as a file: HTML or SVG to look at, CSV to compute with.

use crate::render::comparison::{heading, keeping, order};
use crate::render::figure::{moment, p, thousands, time};
use crate::render::plot::{self, Drawing, STYLE, WIDTH, escape};
use crate::render::verdict::{by_task, verdict};
use crate::trace::balance::{Comparison, Run, WayResult};
use crate::trace::sample::Sample;

/// Room around the charts of an SVG file.
const MARGIN: f64 = 24.0;

/// Longer lines of an SVG file are broken: it breaks none by itself.
const LINE: usize = 120;

/// One file that holds all it shows: no script, no font, nothing from elsewhere.
pub fn html(comparison: &Comparison) -> String {
    let title = escape(&title(comparison));
    let mut body = format!("<h1>{title}</h1>\n");
    for line in heading(&comparison.conditions).lines() {
        body.push_str(&format!("<p>{}.</p>\n", escape(line)));
    }
    body.push_str("<h2>Verdict</h2>\n<ul>\n");
    for line in verdict(comparison).lines() {
        body.push_str(&format!("<li>{}</li>\n", escape(line)));
    }
    body.push_str("</ul>\n");
    for drawing in plot::all(comparison) {
        body.push_str(&figure(&drawing));
    }
    body.push_str(&figures_table(comparison));
    for way in comparison.ways.iter().filter(|way| way.clients.len() > 1) {
        body.push_str(&clients_table(way));
    }
    body.push_str(&conditions_table(comparison));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{PAGE}{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

const PAGE: &str = "\
:root { color-scheme: light dark; }
body { margin: 0; background: #ffffff; color: #1f2328; \
font: 15px/1.5 system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { font-size: 24px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 32px 0 8px; }
p, li { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 640px; height: auto; }
table { border-collapse: collapse; font-size: 13px; }
th, td { text-align: right; padding: 3px 14px 3px 0; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr + tr { border-top: 1px solid #d1d9e0; }
.words td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3; }
  tr + tr { border-color: #30363d; }
}
";

/// The charts one below the other, with the verdict above them.
pub fn svg(comparison: &Comparison) -> String {
    let mut body = String::new();
    let mut y = MARGIN + 18.0;
    for part in broken(&title(comparison), 80) {
        y += line(&mut body, y, "head", &part, 26.0);
    }
    for sentence in heading(&comparison.conditions).lines() {
        for part in broken(sentence, LINE) {
            y += line(&mut body, y, "soft", &part, 17.0);
        }
    }
    y += 10.0;
    for sentence in verdict(comparison).lines() {
        for part in broken(sentence, LINE) {
            y += line(&mut body, y, "", &part, 17.0);
        }
    }
    for drawing in plot::all(comparison) {
        y += 30.0;
        y += line(&mut body, y, "title", &drawing.title, 14.0);
        body.push_str(&format!(
            "<g transform=\"translate({MARGIN} {y:.1})\">\n{}</g>\n",
            drawing.body
        ));
        y += drawing.height;
    }
    let (width, height) = (WIDTH + 2.0 * MARGIN, y + MARGIN);
    let title = escape(&title(comparison));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <rect width=\"{width:.0}\" height=\"{height:.0}\" class=\"paper\"/>\n{body}</svg>\n"
    )
}

/// Adds a line of text; returns its height.
fn line(body: &mut String, y: f64, class: &str, text: &str, height: f64) -> f64 {
    let text = escape(text);
    body.push_str(&format!("<text x=\"{MARGIN}\" y=\"{y:.1}\" class=\"{class}\">{text}</text>\n"));
    height
}

/// The first line of a CSV file.
const COLUMNS: &str = "way,mechanism,client,sequence,worker,started_us,resolve_us,connect_us,total_us,\
                       lookup,address,task,failure";

/// A line for each request: by way, client and sequence. Times are microseconds, counted from the
/// beginning of the way's own turns.
pub fn csv(runs: &[Run]) -> String {
    let mut text = format!("{COLUMNS}\n");
    for run in runs {
        for client in &run.clients {
            for sample in &client.samples {
                let fields = fields(run, &client.client, sample);
                text.push_str(&fields.map(|field| quoted(&field)).join(","));
                text.push('\n');
            }
        }
    }
    text
}

fn fields(run: &Run, client: &str, sample: &Sample) -> [String; 13] {
    let micros = |time: std::time::Duration| format!("{:.3}", time.as_nanos() as f64 / 1e3);
    let (task, failure) = match &sample.outcome {
        Ok(task) => (task.clone(), String::new()),
        Err(failure) => (String::new(), failure.to_string()),
    };
    [
        sample.way.to_string(),
        run.mechanism.clone(),
        client.to_owned(),
        sample.sequence.to_string(),
        sample.worker.to_string(),
        micros(sample.started),
        micros(sample.resolve),
        micros(sample.connect),
        micros(sample.total),
        sample.source.to_string(),
        sample.address.map(|address| address.to_string()).unwrap_or_default(),
        task,
        failure,
    ]
}

/// A field as RFC 4180 wants it.
fn quoted(field: &str) -> String {
    let field = crate::render::table::printable(field);
    match field.contains([',', '"']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    }
}

fn title(comparison: &Comparison) -> String {
    let mechanisms: Vec<&str> = comparison.ways.iter().map(|way| way.mechanism.as_str()).collect();
    format!("{} for {}", mechanisms.join(" and "), comparison.conditions.service)
}

fn figure(drawing: &Drawing) -> String {
    let (title, height) = (escape(&drawing.title), drawing.height);
    format!(
        "<h2>{title}</h2>\n<div class=\"scroll\">\n\
         <svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">\n{}</svg>\n</div>\n",
        drawing.body
    )
}

/// A table with a heading; cells are text.
fn table(title: &str, class: &str, head: &[String], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, row: &[String]| -> String {
        row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let mut text =
        format!("<h2>{}</h2>\n<div class=\"scroll\">\n<table class=\"{class}\">\n", escape(title));
    if !head.is_empty() {
        text.push_str(&format!("<tr>{}</tr>\n", cells("th", head)));
    }
    for row in rows {
        text.push_str(&format!("<tr>{}</tr>\n", cells("td", row)));
    }
    text.push_str("</table>\n</div>\n");
    text
}

fn figures_table(comparison: &Comparison) -> String {
    let ways = &comparison.ways;
    let head: Vec<String> = std::iter::once(String::new())
        .chain(ways.iter().map(|way| way.mechanism.clone()))
        .collect();
    let mut rows = Vec::new();
    let mut row = |name: &str, value: &dyn Fn(&WayResult) -> Option<String>| {
        let values = ways.iter().map(|way| value(way).unwrap_or_else(|| "-".to_owned()));
        rows.push(std::iter::once(name.to_owned()).chain(values).collect());
    };
    row("requests", &|way| Some(thousands(way.requests)));
    row("answered", &|way| Some(thousands(way.answered)));
    row("a second", &|way| Some(thousands(way.requests_per_second?.round() as u64)));
    row("questions for the name", &|way| Some(thousands(way.lookups)));
    row("by task", &|way| Some(by_task(&way.tasks)));
    row("busiest task against the mean", &|way| Some(format!("{:.3}", way.spread.peak?)));
    row("Jain's index", &|way| Some(format!("{:.4}", way.spread.jain?)));
    row("effect size w (variation of the counts)", &|way| {
        Some(format!("{:.4}", way.spread.cramers_w?))
    });
    row("w of picking at random", &|way| Some(format!("{:.4}", way.spread.variation_by_chance?)));
    row("chi-square against equal shares", &|way| {
        let chi = way.spread.chi_square?;
        Some(format!("{:.2}, df {}", chi.statistic, chi.degrees_of_freedom))
    });
    row("as uneven by chance", &|way| Some(p(way.spread.chi_square?.upper_p)));
    row("as even by chance", &|way| Some(p(way.spread.chi_square?.lower_p)));
    row("clients against each other", &|way| {
        let found = way.strata.as_ref()?.heterogeneity?;
        let chi = format!("chi-square {:.2}, df {}", found.statistic, found.degrees_of_freedom);
        Some(format!("{chi}, {}", p(found.p)))
    });
    for (name, permille) in [("P50", 500), ("P90", 900), ("P99", 990), ("P99.9", 999)] {
        row(&format!("total {name} (95 %)"), &|way| {
            let total = way.latency?.total;
            let (value, interval) = match permille {
                500 => (total.p50, total.intervals.p50),
                900 => (total.p90, total.intervals.p90),
                990 => (total.p99, total.intervals.p99),
                _ => (total.p999, total.intervals.p999),
            };
            let interval =
                interval.map(|(low, high)| format!(" ({} to {})", time(low), time(high)));
            Some(format!("{}{}", time(value), interval.unwrap_or_default()))
        });
    }
    row("total, slowest", &|way| Some(time(way.latency?.total.max)));
    row("name P50", &|way| Some(time(way.latency?.resolve.p50)));
    row("connect P50", &|way| Some(time(way.latency?.connect.p50)));
    table("Figures", "figures", &head, &rows)
}

fn clients_table(way: &WayResult) -> String {
    let head = ["client", "answered", "by task", "lookups", "order", "peak", "Jain", "P50", "P99"];
    let row = |client: &crate::trace::balance::ClientResult| {
        let dash = || "-".to_owned();
        let total = client.latency.map(|latency| latency.total);
        vec![
            client.client.clone(),
            thousands(client.answered),
            by_task(&client.tasks),
            thousands(client.lookups),
            order(way.way, client).to_owned(),
            client.spread.peak.map_or_else(dash, |peak| format!("{peak:.2}")),
            client.spread.jain.map_or_else(dash, |jain| format!("{jain:.3}")),
            total.map_or_else(dash, |total| time(total.p50)),
            total.map_or_else(dash, |total| time(total.p99)),
        ]
    };
    let rows: Vec<Vec<String>> = way.clients.iter().map(row).collect();
    let title = format!("Clients through {}", way.mechanism);
    table(&title, "clients", &head.map(str::to_owned), &rows)
}

fn conditions_table(comparison: &Comparison) -> String {
    let conditions = &comparison.conditions;
    let plane = conditions.data_plane.clone().unwrap_or_else(|| "none: endpoint mode dnsrr".into());
    let rows = [
        ("service", conditions.service.clone()),
        ("network", conditions.network.clone()),
        ("node", conditions.node.clone()),
        ("data plane", plane),
        ("clients", conditions.clients.join(", ")),
        ("requests each way", thousands(conditions.requests)),
        ("at a time, each client", conditions.concurrency.to_string()),
        ("clients keep", keeping(conditions.client_cache).to_owned()),
        ("kernel", conditions.kernel.clone()),
        ("measured", moment(conditions.started)),
        ("by swarmlb", conditions.version.clone()),
    ];
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    table("Conditions", "words", &[], &rows)
}

/// A sentence as lines of so many characters.
fn broken(sentence: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in sentence.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::trace::balance::{ClientRun, compare};
    use crate::trace::conditions::Conditions;
    use crate::trace::sample::{Failure, Source, Way};

    /// `clients` clients that each ask `tasks` tasks in turn, some of them in vain.
    fn measured(service: &str, tasks: usize, clients: usize) -> (Comparison, Vec<Run>) {
        let names: Vec<String> = (1..=tasks).map(|slot| format!("{service}.{slot}")).collect();
        let sample = |way: Way, client: usize, sequence: u32| {
            let place = (sequence as usize + client) % tasks;
            let micros = 300 + u64::from(sequence * 37 % 101) * 9;
            Sample {
                way,
                sequence,
                worker: 0,
                started: Duration::from_micros(u64::from(sequence) * 500),
                resolve: Duration::from_micros(micros / 3),
                source: if sequence.is_multiple_of(2) { Source::Asked } else { Source::Kept },
                connect: Duration::from_micros(micros / 4),
                total: Duration::from_micros(micros),
                address: Some(IpAddr::from([10, 0, 3, place as u8])),
                outcome: match sequence {
                    7 => Err(Failure::Resolve("no \"such\" name, <here> & now".to_owned())),
                    _ => Ok(names[place].clone()),
                },
            }
        };
        let run = |way, mechanism: &str| Run {
            way,
            mechanism: mechanism.to_owned(),
            clients: (0..clients)
                .map(|client| ClientRun {
                    client: format!("{service}-client.{}", client + 1),
                    samples: (0..60).map(|sequence| sample(way, client, sequence)).collect(),
                    ..ClientRun::default()
                })
                .collect(),
        };
        let runs = vec![run(Way::Dns, "RR-DNS"), run(Way::Vip, "IPVS rr")];
        let conditions = Conditions {
            service: service.to_owned(),
            network: "collabnet".to_owned(),
            data_plane: Some("ipvs".to_owned()),
            clients: runs[0].clients.iter().map(|client| client.client.clone()).collect(),
            requests: 60 * clients as u64,
            concurrency: 1,
            ..Conditions::default()
        };
        (compare(conditions, &runs, &names), runs)
    }

    /// Every size that there may be, with names that want to be escaped and cut.
    fn sizes() -> Vec<Comparison> {
        let long = "n".repeat(63);
        [("web", 3, 2), ("web", 1, 1), (long.as_str(), 30, 10), ("a<b>&\"c'", 130, 100)]
            .map(|(service, tasks, clients)| measured(service, tasks, clients).0)
            .into()
    }

    /// What stands between `<` and `>`, in order, but for comments.
    fn tags(text: &str) -> Vec<&str> {
        text.split('<').skip(1).map(|part| part.split_once('>').expect("a tag ends").0).collect()
    }

    /// Whether every element is closed, in the order that they were opened in.
    fn assert_nested(text: &str) {
        let mut open: Vec<&str> = Vec::new();
        for tag in tags(text) {
            let name = tag.split([' ', '\n']).next().unwrap_or_default();
            match name.strip_prefix('/') {
                Some(closed) => assert_eq!(open.pop(), Some(closed), "closes another element"),
                None if tag.ends_with('/') || ["meta", "!DOCTYPE"].contains(&name) => {}
                None => open.push(name),
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "<{tag}>");
        }
        assert!(open.is_empty(), "not closed: {open:?}");
    }

    #[test]
    fn html_and_svg_are_well_formed_and_need_nothing_from_elsewhere() {
        for comparison in sizes() {
            for text in [html(&comparison), svg(&comparison)] {
                assert_nested(&text);
                let text = text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
                for elsewhere in ["://", "src=", "href", "url(", "@import", "<script", "NaN", "inf"]
                {
                    assert!(!text.contains(elsewhere), "{elsewhere}");
                }
                assert!(!text.contains("<b>&"), "a name is not escaped");
            }
        }
    }

    #[test]
    fn no_chart_draws_beyond_its_edges() {
        for comparison in sizes() {
            for drawing in plot::all(&comparison) {
                for tag in tags(&drawing.body) {
                    let value = |name: &str| -> Option<f64> {
                        tag.split_once(&format!(" {name}=\""))?.1.split('"').next()?.parse().ok()
                    };
                    let right = value("x").unwrap_or(0.0) + value("width").unwrap_or(0.0);
                    let low = value("y").unwrap_or(0.0) + value("height").unwrap_or(0.0);
                    let inside = right <= WIDTH + 0.1 && low <= drawing.height + 0.1;
                    assert!(
                        inside && value("x").unwrap_or(0.0) >= 0.0,
                        "{}: <{tag}>",
                        drawing.title
                    );
                }
            }
        }
    }

    #[test]
    fn the_page_shows_the_charts_that_there_is_something_to_draw_for() {
        let titles = |comparison: &Comparison| -> Vec<String> {
            plot::all(comparison).into_iter().map(|drawing| drawing.title).collect()
        };
        let several = [
            "Replies by task",
            "Replies by client and task",
            "The first 59 tasks that each client met, in order",
            "Latency by percentile",
        ];
        assert_eq!(titles(&measured("web", 3, 2).0), several);
        assert_eq!(titles(&measured("web", 1, 1).0), ["Replies by task", "Latency by percentile"]);
        assert!(titles(&compare(Conditions::default(), &[], &[])).is_empty());
        let page = html(&measured("web", 3, 2).0);
        for said in ["<li>RR-DNS spread 118 connections", "web-client.2", "no reply came", "P99.9"]
        {
            assert_eq!(page.contains(said), said != "no reply came", "{said}");
        }
    }

    #[test]
    fn csv_has_a_line_for_each_request_and_quotes_what_needs_it() {
        let (_, runs) = measured("web", 3, 2);
        let text = csv(&runs);
        assert_eq!(text.lines().count(), 1 + 2 * 2 * 60);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(COLUMNS));
        assert_eq!(
            lines.next(),
            Some("DNS,RR-DNS,web-client.1,0,0,0.000,100.000,75.000,300.000,asked,10.0.3.0,web.1,")
        );
        let failed = text.lines().nth(8).expect("the eighth request");
        assert!(
            failed.ends_with(",,\"the name did not resolve: no \"\"such\"\" name, <here> & now\""),
            "{failed}"
        );
        assert!(text.lines().all(|line| line.matches(',').count() >= 12));
    }

    #[test]
    fn a_report_of_nothing_is_a_page_all_the_same() {
        let nothing = compare(Conditions::default(), &[], &[]);
        assert_nested(&html(&nothing));
        assert_nested(&svg(&nothing));
        assert_eq!(csv(&[]).lines().count(), 1);
    }
}
