package rotator

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The protocol of Redis, version 2, as far as a rotator needs it. It is our own because
// the usual client believes a server's lengths: one line of a hostile server would have
// it ask for more memory than there is.

const (
	maxReplyLine  = 4 << 10
	maxReplyBulk  = 1 << 20
	maxReplyItems = 100_000
	maxReplyDepth = 4
)

// respError is an error that the server answers with.
type respError string

func (e respError) Error() string { return string(e) }

// is reports whether the error is of a kind, which is its first word.
func (e respError) is(kind string) bool {
	first, _, _ := strings.Cut(string(e), " ")
	return first == kind
}

var errReply = errors.New("the server's answer is not understood")

// writeCommand sends a command in one write, so that nothing of it stays behind.
func writeCommand(w io.Writer, args ...string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// readReply reads one answer: a string, an int64, nil, a respError, or a list of those.
func readReply(r *bufio.Reader) (any, error) { return readNested(r, maxReplyDepth) }

func readNested(r *bufio.Reader, depth int) (any, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	if line == "" || depth == 0 {
		return nil, errReply
	}
	switch kind, rest := line[0], line[1:]; kind {
	case '+':
		return rest, nil
	case '-':
		return respError(rest), nil
	case ':':
		n, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			return nil, errReply
		}
		return n, nil
	case '$':
		return readBulk(r, rest)
	case '*':
		return readItems(r, rest, depth)
	}
	return nil, errReply
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n') // as long as the reader's buffer, at most
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errReply
	}
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok {
		return "", errReply
	}
	return text, nil
}

func readLength(text string, most int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < -1 || n > most {
		return 0, errReply
	}
	return n, nil
}

func readBulk(r *bufio.Reader, length string) (any, error) {
	n, err := readLength(length, maxReplyBulk)
	if err != nil || n == -1 {
		return nil, err
	}
	b := make([]byte, n+2)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if string(b[n:]) != "\r\n" {
		return nil, errReply
	}
	return string(b[:n]), nil
}

func readItems(r *bufio.Reader, count string, depth int) (any, error) {
	n, err := readLength(count, maxReplyItems)
	if err != nil || n == -1 {
		return nil, err
	}
	var items []any // not made in advance: the server may promise more than it sends
	for range n {
		item, err := readNested(r, depth-1)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}
