package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// inbox cuts HTTP/1.1 answers with a Content-Length out of what a connection brings, with
// as little work as possible: the generator shares the cores with what it measures.
type inbox struct {
	buf  []byte
	have int // bytes of buf that are filled
}

// reply is one answer. It is valid until the next call of space.
type reply struct {
	status []byte // the first line
	body   []byte
	ok     bool // the status is 200
	closes bool // the server closes the connection after it
}

const (
	inboxBytes = 8 << 10
	// maxAnswerBytes is far above any answer that is measured.
	maxAnswerBytes = 4 << 20
)

var errAnswer = errors.New("not an HTTP/1.1 answer with a Content-Length")

// space returns where the next bytes go.
func (in *inbox) space() []byte {
	if in.have == len(in.buf) {
		grown := make([]byte, max(inboxBytes, 2*len(in.buf)))
		copy(grown, in.buf[:in.have])
		in.buf = grown
	}
	return in.buf[in.have:]
}

// take returns the answer that is there, if it is there in whole. There is never a part
// of a second one: nobody sends a request before the answer to the last.
func (in *inbox) take() (r reply, whole bool, err error) {
	got := in.buf[:in.have]
	end := bytes.Index(got, []byte("\r\n\r\n"))
	if end < 0 {
		if in.have > 64<<10 {
			return reply{}, false, errAnswer
		}
		return reply{}, false, nil
	}
	head := got[:end]
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	r.status = line
	if len(line) < 12 || string(line[:7]) != "HTTP/1." {
		return reply{}, false, errAnswer
	}
	r.ok = string(line[8:12]) == " 200"
	r.closes = line[7] == '0'
	length := -1
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if len(line) < 16 || line[0]|0x20 != 'c' {
			continue
		}
		switch {
		case bytes.EqualFold(line[:15], []byte("content-length:")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[15:]))); err != nil {
				return reply{}, false, fmt.Errorf("%w: %w", errAnswer, err)
			}
		case bytes.EqualFold(line[:11], []byte("connection:")):
			r.closes = r.closes || bytes.EqualFold(bytes.TrimSpace(line[11:]), []byte("close"))
		}
	}
	if length < 0 || length > maxAnswerBytes {
		return reply{}, false, fmt.Errorf("%w: %s", errAnswer, r.status)
	}
	total := end + 4 + length
	if in.have < total {
		return reply{}, false, nil
	}
	if in.have > total {
		return reply{}, false, fmt.Errorf("%w: more than was asked for", errAnswer)
	}
	r.body = got[end+4 : total]
	in.have = 0
	return r, true, nil
}
