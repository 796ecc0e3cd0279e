//! A comparison as a page: what came of it, the figures of both, and then the two runs side by side.

use super::{Compared, Comparison, Figure, Judgement};
use crate::report::Report;
use crate::report::escape::html;
use crate::report::page::{page_with, section, table};

/// The page of the comparison of these two.
pub fn page(title: &str, compared: &Compared, before: &Report, after: &Report) -> String {
    let preface = verdict(compared) + &section("A and B", &(figures(compared) + &differences(compared)));
    page_with(title, &[before.clone(), after.clone()], &(preface + "<h2>The two runs</h2>\n"))
}

fn verdict(compared: &Compared) -> String {
    let (class, badge) = match (&compared.comparison, compared.threshold) {
        (Comparison::Invalid(_), _) => ("bad", "✗ COMPARISON INVALID"),
        (Comparison::Regression(_), _) => ("bad", "✗ REGRESSION"),
        (Comparison::Fine, Some(_)) => ("good", "✓ NO REGRESSION"),
        (Comparison::Fine, None) => ("plain", "• NOT JUDGED"),
    };
    format!(
        "<article class=\"verdict {class}\">\n<p class=\"badge\">{badge}</p>\n<p class=\"sentence\">{}</p>\n</article>\n",
        html(&compared.sentence())
    )
}

fn figures(compared: &Compared) -> String {
    let rows: Vec<Vec<String>> = compared.figures.iter().map(cells).collect();
    table(&["Figure", "A", "B", "Change", ""], &rows)
}

fn cells(figure: &Figure) -> Vec<String> {
    let judgement = match figure.judgement {
        Judgement::Shown => "not judged",
        Judgement::TooFew => "too few to judge",
        Judgement::Kept => "<span class=\"met\">✓ ok</span>",
        Judgement::Worse => "<span class=\"missed\">✗ WORSE</span>",
    };
    let [before, after] = figure.values();
    let plain = [figure.name.to_owned(), before, after, figure.change_text()];
    plain.iter().map(|text| html(text)).chain([judgement.to_owned()]).collect()
}

fn differences(compared: &Compared) -> String {
    let items: String =
        compared.differences.iter().map(|difference| format!("<li>{}</li>\n", html(difference))).collect();
    if items.is_empty() {
        items
    } else {
        format!("<p>The runs differ in how they were made:</p>\n<ul>\n{items}</ul>\n")
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare;
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_regression_stands_before_all_else_and_no_difference_becomes_mark_up() {
        let before = sample::closed();
        let mut after = before.clone();
        after.messages_per_second /= 2.0;
        after.target.name = sample::HOSTILE.into();
        let page = page("Compared", &compare(&before, &after, Some(0.1)), &before, &after);
        let regression = page.find("✗ REGRESSION").expect("the badge");
        assert!(regression < page.find("class=\"verdicts\"").expect("the runs"));
        assert!(page.contains("✗ WORSE") && !page.contains("<script"));
    }
}
