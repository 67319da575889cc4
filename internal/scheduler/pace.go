package scheduler

import "time"

// DefaultPerSecond is how many rotations may begin by their schedule in a second,
// if nothing else is configured. A server that comes back after a time, or whose
// clock jumps, finds many due at once: they are not to take its processors from
// those who ask for secrets. It is 180,000 an hour.
const DefaultPerSecond = 50

// pace spreads the rotations that are due. Those that somebody asks for, and the
// steps of those under way, do not wait for it. One goroutine uses it.
type pace struct {
	every time.Duration // 0: it does not hold anything up
	next  time.Time
}

// newPace returns the pace of n beginnings a second; 0 is DefaultPerSecond, and
// less is no bound.
func newPace(n int) pace {
	switch {
	case n < 0:
		return pace{}
	case n == 0:
		n = DefaultPerSecond
	}
	return pace{every: time.Second / time.Duration(n)}
}

// begun notes that one begins.
func (p *pace) begun(now time.Time) { p.next = now.Add(p.every) }

// holds tells whether the next one has to wait. A clock that is set back does not
// make the wait longer.
func (p *pace) holds(now time.Time) bool {
	wait := p.next.Sub(now)
	return wait > 0 && wait <= p.every
}
