package scheduler

import "time"

// WatchedText is the statement of Watch, to look at its plan.
const WatchedText = watchedText

// Window returns the first window that opens after a moment, from its first to its
// last second.
func (r Rule) Window(after time.Time) (start, end time.Time, err error) {
	w, err := r.next(after, "")
	return w.Start, w.End, err
}

// Due returns the moment of that window at which the secret with this ARN rotates, or
// the zero time if there is none.
func (r Rule) Due(after time.Time, arn string) time.Time {
	w, _ := r.next(after, arn)
	return w.At
}
