package scheduler

// WatchedText is the statement of Watch, to look at its plan.
const WatchedText = watchedText
