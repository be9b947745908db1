//! Whether each of a load's registrations is there, once, with its mail.

use std::time::{Duration, Instant};

use crate::{bench::Bench, load::Report};

/// What the last process had begun when it was killed is left to its lease, 15 s, and then to the relay.
const LEFT_OVER: Duration = Duration::from_secs(60);

/// Checks it, where nobody else has registered. One that failed may be there, too. So many mails may have gone out twice:
/// those whose sender was killed before it had noted them.
pub(crate) async fn assert_each_once(bench: &Bench, report: &Report, twice: usize) {
    let stack = &bench.stack;
    let until = Instant::now() + LEFT_OVER;
    let succeeded = report.len() - report.failed();
    loop {
        // Users have numbers one after the other, after the first three; a mail has a file by its Message-ID.
        let mails = stack.mails().len();
        let last = stack.get(&format!("/user/{}", mails + 3)).await.status;
        let next = stack.get(&format!("/user/{}", mails + 4)).await.status;
        if (succeeded..=report.len()).contains(&mails) && last == 200 && next == 404 {
            let again = bench.mails_sent_again();
            assert!(again <= twice, "{again} mails were sent twice");
            return;
        }
        assert!(
            Instant::now() < until,
            "{mails} mails; the user of the last: {last}, and one more: {next}; {report}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
