//! The promises of charts.

use super::super::units;
use super::*;

fn chart(points: Vec<(f64, f64)>) -> Chart {
    Chart {
        title: "Latency <of> \"all\"".into(),
        note: "a & b".into(),
        x: Axis { label: "x".into(), scale: Scale::Linear, text: units::number },
        y: Axis { label: "y".into(), scale: Scale::Logarithmic, text: units::time },
        series: vec![Series { name: "</svg><script>".into(), style: 0, points, strays: Vec::new() }],
        marks: vec![Mark { x: 3.0, label: "<knee>".into() }],
    }
}

/// Every coordinate that was written.
fn is_sound(svg: &str) -> bool {
    !["NaN", "inf", "<script>", "<knee>"].iter().any(|broken| svg.contains(broken))
        && svg.matches("<g").count() == svg.matches("</g>").count()
        && svg.matches("<text").count() == svg.matches("</text>").count()
        && svg.matches("<svg").count() == svg.matches("</svg>").count()
}

#[test]
fn no_data_however_odd_makes_a_broken_picture() {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, 1e-320, 1e308, 5.0];
    let points: Vec<(f64, f64)> = odd.iter().flat_map(|x| odd.map(|y| (*x, y))).collect();
    for points in [points, vec![], vec![(1.0, 1.0)], vec![(f64::NAN, f64::NAN)]] {
        for scale in [Scale::Linear, Scale::Logarithmic, Scale::Nines] {
            let mut chart = chart(points.clone());
            chart.x.scale = scale;
            assert!(is_sound(&figure(&chart)), "{}", figure(&chart));
        }
    }
}

#[test]
fn without_data_the_picture_says_so() {
    assert!(svg(&chart(vec![])).contains("nothing to show"));
    assert!(!svg(&chart(vec![(1.0, 1.0)])).contains("nothing to show"));
}

#[test]
fn a_gap_is_not_bridged_by_the_line() {
    let svg = svg(&chart(vec![(1.0, 1.0), (2.0, 2.0), (3.0, 0.0), (4.0, 2.0), (5.0, 1.0)]));
    let path =
        svg.split("class=\"line s0\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a line");
    assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 2), "{path}");
}

#[test]
fn every_point_says_what_it_is_and_the_picture_is_described() {
    let svg = svg(&chart(vec![(1.0, 1_000.0), (2.0, 2_000.0)]));
    assert!(svg.contains("<title>&lt;/svg&gt;&lt;script&gt;: 2.00 ms at 2</title>"), "{svg}");
    assert!(svg.contains("role=\"img\" aria-label=\"Latency &lt;of&gt;"), "{svg}");
    assert!(svg.contains("1.00 ms to 2.00 ms."), "{svg}");
}

#[test]
fn labels_of_ticks_do_not_overlap() {
    let mut chart = chart((0..1_000_000).step_by(1_000).map(|x| (f64::from(x), 1.0)).collect());
    chart.x.text = |value| format!("a long label {value}");
    let svg = svg(&chart);
    assert!(svg.matches("a long label").count() - svg.matches("<title>").count() < X_TICKS, "{svg}");
}
