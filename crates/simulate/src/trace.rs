//! A list of requests in the order of arrival.

use std::fmt::Write;

use super::request::Request;
use crate::error::{Error, Result};

/// Requests in the order of arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    requests: Vec<Request>,
}

impl Trace {
    /// Sorts the requests by arrival, equal ones in the given order, and numbers them.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a prompt without tokens, or an arrival that is negative or not finite.
    pub fn new(mut requests: Vec<Request>) -> Result<Self> {
        for (position, request) in requests.iter().enumerate() {
            let place = |rule: &str| format!("{rule} (request {position})");
            if request.prompt_tokens == 0 {
                return Err(Error::parameter("prompt_tokens", place("at least 1"), 0));
            }
            if !(request.arrival_seconds >= 0.0 && request.arrival_seconds.is_finite()) {
                let rule = place("a finite number that is not negative");
                return Err(Error::parameter("arrival_seconds", rule, request.arrival_seconds));
            }
        }
        requests.sort_by(|a, b| a.arrival_seconds.total_cmp(&b.arrival_seconds));
        requests.iter_mut().enumerate().for_each(|(id, request)| request.id = id);
        Ok(Self { requests })
    }

    /// The requests; the `id` of each is its place.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// One more than the largest adapter, 0 without requests.
    pub fn adapters(&self) -> usize {
        self.requests.iter().map(|request| request.adapter as usize + 1).max().unwrap_or(0)
    }

    /// Tokens that all requests give.
    pub fn output_tokens(&self) -> u64 {
        self.requests.iter().map(Request::output_tokens).sum()
    }

    /// The trace as a CSV file that `tilefold lora simulate --trace` reads.
    pub fn to_csv(&self) -> String {
        let mut text = String::from("adapter,prompt_tokens,decode_steps,arrival_seconds,priority\n");
        for request in &self.requests {
            let Request { adapter, prompt_tokens, decode_steps, arrival_seconds, priority, .. } = request;
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{adapter},{prompt_tokens},{decode_steps},{arrival_seconds:?},{priority}");
        }
        text
    }
}
