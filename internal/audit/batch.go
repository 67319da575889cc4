package audit

import "runtime"

// batch is lines that are written together.
type batch struct {
	lines         []byte
	calls         uint64
	before, after link

	joined bool // not only by its writer
	ended  bool // err is set
	err    error

	// Made when somebody waits long for another writer.
	turn chan struct{} // one of the waiting takes it and writes
	done chan struct{} // closed when ended becomes true
}

// queue is where the waiting stand.
func (b *batch) queue() (turn, done chan struct{}) {
	if b.done == nil {
		b.turn, b.done = make(chan struct{}, 1), make(chan struct{})
	}
	return b.turn, b.done
}

func (b *batch) end(err error) {
	b.err, b.ended = err, true
	if b.done != nil {
		close(b.done)
	}
}

// triedEach is how often a writer looks whether there are others, of whom nothing
// was seen lately.
const triedEach = 16

// letOthersJoin lets calls that have got as far add their lines to the batch that
// is about to be written, if there seem to be any: to give way costs more than a
// line does. On few processors calls that never give way seldom meet, so that it
// has to be tried. It unlocks l.mu meanwhile.
func (l *Log) letOthersJoin() {
	if l.writes++; !l.shared && l.writes%triedEach != 0 {
		return
	}
	l.giveWay()
}

func (l *Log) giveWay() {
	l.mu.Unlock()
	runtime.Gosched()
	l.mu.Lock()
}

// join waits until a batch is written, or writes it. A writer that has given way
// is mostly done once those whom it let in have given way too, which costs less
// than to sleep and be woken. It unlocks l.mu.
func (l *Log) join(b *batch) error {
	if !l.writing {
		l.writing = true
		l.letOthersJoin()
		l.next = nil
		l.mu.Unlock()
		return l.write(b)
	}
	b.joined = true
	if l.giveWay(); b.ended {
		defer l.mu.Unlock()
		return b.err
	}
	turn, done := b.queue()
	l.mu.Unlock()
	select {
	case <-turn:
		return l.write(b)
	case <-done:
		return b.err
	}
}

// add puts a line into the batch that waits.
func (l *Log) add(e *Event, details []byte) *batch {
	if l.next == nil {
		l.next, l.spare = l.spare, nil
		if l.next == nil {
			l.next = new(batch)
		}
		l.next.before = l.end
	}
	b := l.next
	start := len(b.lines)
	b.lines = appendEvent(b.lines, e)
	if len(details) > 0 {
		b.lines = append(append(append(b.lines, `,"serviceEventDetails":{`...), details...), '}')
	}
	b.lines, b.after = appendChain(b.lines, start, l.end)
	l.end = b.after
	return b
}

// write writes a batch and passes the turn on.
func (l *Log) write(b *batch) error {
	err := l.put(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		err = l.fail(b, err)
	} else {
		l.wrote(b)
	}
	b.end(err)
	l.keep(b)
	if l.next == nil {
		l.writing = false
		return err
	}
	turn, _ := l.next.queue()
	l.next = nil
	turn <- struct{}{}
	return err
}

// maxSpare bounds the buffer that is kept for the next batch, in bytes.
const maxSpare = 256 << 10

// keep takes what a batch can leave to the next one.
func (l *Log) keep(b *batch) {
	switch {
	case cap(b.lines) > maxSpare:
	case !b.joined: // nobody else has it
		*b = batch{lines: b.lines[:0]}
		l.spare = b
	default:
		l.spare = &batch{lines: b.lines[:0]}
	}
}
