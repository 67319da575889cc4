package main

import "time"

// drift is --drift-check in the words of keyturn.Config, where none is below 0.
func (f serveFlags) drift() (time.Duration, error) {
	if f.driftCheck == "0" {
		return -1, nil
	}
	d, err := parseDuration(f.driftCheck)
	if err != nil || d < time.Minute {
		return 0, usagef("--drift-check is a time such as 6h or 7d, of a minute at least, or 0, not %q", f.driftCheck)
	}
	return d, nil
}
