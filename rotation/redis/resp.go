package redis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/rotation"
)

// replyError is an error reply of the server, such as NOPERM.
type replyError struct{ text string }

// Error returns the server's words.
func (e *replyError) Error() string { return e.text }

// without takes a password out, which a server that does not know AUTH quotes.
func (e *replyError) without(secret string) error {
	if secret == "" {
		return e
	}
	return &replyError{strings.ReplaceAll(e.text, secret, "[redacted]")}
}

// isReply tells whether the server answered with an error that has these words.
func isReply(err error, words string) bool {
	var reply *replyError
	return errors.As(err, &reply) && strings.Contains(reply.text, words)
}

// isGone tells whether a password was to be removed that the user has no more.
func isGone(err error) bool { return isReply(err, "password you are trying to remove") }

// conn speaks RESP 2, the protocol of Redis.
type conn struct {
	net.Conn
	reader *bufio.Reader
}

func newConn(c net.Conn) *conn { return &conn{c, bufio.NewReader(c)} }

// do sends one command and returns its reply: string, int64, []any or nil. An
// error reply is a *replyError.
func (c *conn) do(ctx context.Context, command ...string) (any, error) {
	replies, err := c.pipeline(ctx, command)
	if err != nil {
		return nil, err
	}
	return replies[0], asError(replies[0])
}

// transaction runs commands as one. done tells, beside an error, that the first
// of them has been carried out. Without its MULTI, the commands would run one by
// one, so nothing is sent before the answer to that.
func (c *conn) transaction(ctx context.Context, commands ...[]string) (done bool, err error) {
	if _, err := c.do(ctx, "MULTI"); err != nil {
		return false, err
	}
	replies, err := c.pipeline(ctx, append(commands, []string{"EXEC"})...)
	if err != nil {
		return false, err // nobody knows
	}
	for _, r := range replies {
		if err := asError(r); err != nil {
			return false, err
		}
	}
	results, _ := replies[len(replies)-1].([]any)
	for i, r := range results {
		if err := asError(r); err != nil {
			return i > 0, err
		}
	}
	return true, nil
}

func asError(reply any) error {
	if e, ok := reply.(*replyError); ok {
		return e
	}
	return nil
}

// pipeline sends commands in one piece and reads a reply to each.
func (c *conn) pipeline(ctx context.Context, commands ...[]string) ([]any, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var request []byte
	for _, command := range commands {
		request = fmt.Appendf(request, "*%d\r\n", len(command))
		for _, arg := range command {
			request = fmt.Appendf(request, "$%d\r\n%s\r\n", len(arg), arg)
		}
	}
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	var replies []any
	for range commands {
		reply, err := read(c.reader, maxDepth)
		if err != nil {
			return nil, err
		}
		replies = append(replies, reply)
	}
	return replies, nil
}

// What a reply to this package's commands stays far below.
const (
	maxDepth = 4
	maxBulk  = 1 << 20
	maxArray = 1 << 12
)

var errReply = rotation.Errorf(rotation.ClassDatabase, "the server does not answer as Redis or Valkey does")

// read reads one reply of RESP 2.
func read(r *bufio.Reader, depth int) (any, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errReply
	}
	if err != nil {
		return nil, err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || text == "" {
		return nil, errReply
	}
	switch kind, text := text[0], text[1:]; kind {
	case '+':
		return text, nil
	case '-':
		return &replyError{text}, nil
	case ':':
		return number(text, -1<<62, 1<<62)
	case '$':
		return readBulk(r, text)
	case '*':
		return readArray(r, text, depth)
	}
	return nil, errReply
}

func number(text string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < low || n > high {
		return 0, errReply
	}
	return n, nil
}

func readBulk(r *bufio.Reader, text string) (any, error) {
	length, err := number(text, -1, maxBulk)
	if err != nil || length < 0 {
		return nil, err
	}
	data := make([]byte, length+2)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	bulk, ok := strings.CutSuffix(string(data), "\r\n")
	if !ok {
		return nil, errReply
	}
	return bulk, nil
}

func readArray(r *bufio.Reader, text string, depth int) (any, error) {
	length, err := number(text, -1, maxArray)
	if err != nil || length < 0 {
		return nil, err
	}
	if depth == 0 {
		return nil, errReply
	}
	list := []any{}
	for range length {
		reply, err := read(r, depth-1)
		if err != nil {
			return nil, err
		}
		list = append(list, reply)
	}
	return list, nil
}
