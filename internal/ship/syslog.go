package ship

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

const (
	// severityInfo is that of every message: what matters about an event stands inside.
	severityInfo = 6
	appName      = "arca"
	messageID    = "audit"

	syslogDial = 10 * time.Second
	// syslogStall is how long a receiver may take for some bytes.
	syslogStall = 30 * time.Second
	// syslogDoubt: RFC 5425 and 6587 know no answer, so what the receiver's machine has
	// acknowledged may be lost with the receiver. When the connection breaks, what was
	// sent this long before is sent again.
	syslogDoubt = 3 * time.Second
	syslogChunk = 64 << 10
)

// syslogFormat is what syslog messages look like.
type syslogFormat struct {
	prefix string // "<PRI>1 "
	suffix string // from HOSTNAME to the beginning of MSG
	max    int    // bytes of a message
}

func newSyslogFormat(facility int, hostname string, limit int) syslogFormat {
	host := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, hostname)
	if len(host) > 255 {
		host = host[:255]
	}
	if host == "" {
		host = "-"
	}
	return syslogFormat{
		prefix: "<" + strconv.Itoa(facility*8+severityInfo) + ">1 ",
		suffix: " " + host + " " + appName + " - " + messageID + " - ",
		max:    limit,
	}
}

// appendMessage appends a line as one RFC 5424 message. The time is the event's, the
// message the line without a byte order mark: readers expect JSON to begin at once.
func (f syslogFormat) appendMessage(dst, line []byte) []byte {
	dst = append(dst, f.prefix...)
	text, t, ok := eventTime(line)
	if ok && len(text) <= 32 && t.Year() >= 1 && bytes.IndexByte(text, ' ') < 0 {
		dst = append(dst, text...)
	} else {
		dst = append(dst, '-')
	}
	dst = append(dst, f.suffix...)
	return append(dst, shorten(line, f.max-len(f.prefix)-32-len(f.suffix))...)
}

// appendFrame appends a line as one message with its length before it, which is
// octet counting of RFC 6587 and RFC 5425.
func (f syslogFormat) appendFrame(dst, line []byte) []byte {
	start := len(dst)
	dst = f.appendMessage(dst, line)
	size := strconv.Itoa(len(dst)-start) + " "
	dst = append(dst, size...)
	copy(dst[start+len(size):], dst[start:len(dst)-len(size)])
	copy(dst[start:], size)
	return dst
}

// member is one member of a line.
type member struct {
	key   string
	value json.RawMessage
	size  int // of the value as it was
}

// keepWhole are members that a shortened line still has, whatever their size: by them
// it is found in the log.
var keepWhole = map[string]bool{"eventVersion": true, "eventTime": true, "eventSource": true, "eventName": true, "eventID": true, "requestID": true, "awsRegion": true, "recipientAccountId": true}

// shorten returns a line of at most limit bytes. The largest members of a longer one
// are replaced one by one with what CloudTrail puts in the place of members it leaves
// out, so that the rest stays JSON. What is no JSON is cut.
func shorten(line []byte, limit int) []byte {
	if len(line) <= limit {
		return line
	}
	members, err := parseMembers(line)
	size := len(line)
	for err == nil && size > limit {
		largest := -1
		for i, m := range members {
			if !keepWhole[m.key] && m.size == len(m.value) && (largest < 0 || m.size > members[largest].size) {
				largest = i
			}
		}
		if largest < 0 {
			break
		}
		m := &members[largest]
		m.value = fmt.Appendf(nil, `{"omitted":true,"originalSize":%d,"reason":"syslog message too large"}`, m.size)
		if len(m.value) >= m.size {
			break // and so it is with all that are left
		}
		size += len(m.value) - m.size
	}
	if err != nil || size > limit {
		return line[:max(limit, 0)]
	}
	out := make([]byte, 0, limit)
	for i, m := range members {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		out = append(out, sep)
		out = append(strconv.AppendQuote(out, m.key), ':')
		out = append(out, m.value...)
	}
	return append(out, '}')
}

func parseMembers(line []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var members []member
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{key: t.(string)}
		if strings.Trim(m.key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return nil, errors.New("not a line of ours") // its names need no escapes
		}
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		m.size = len(m.value)
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if len(members) == 0 {
		return nil, errors.New("empty")
	}
	return members, nil
}

// syslogOutput sends lines over one connection.
type syslogOutput struct {
	address string
	tls     *tls.Config // nil: plain TCP
	format  syslogFormat

	conn   net.Conn
	tcp    *net.TCPConn  // below conn
	broken chan struct{} // closed when the receiver has ended the connection
	reason *error        // why; to be read when broken is closed
	sent   time.Time     // when something was last delivered
	buf    []byte
}

func newSyslogOutput(cfg Config, c SinkConfig) (*syslogOutput, error) {
	address, host, secure, err := c.syslogAddress()
	if err != nil {
		return nil, err
	}
	o := &syslogOutput{address: address, format: newSyslogFormat(*c.Facility, cfg.Hostname, c.MaxMessageBytes)}
	if secure {
		if o.tls, err = c.tlsConfig(host); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (o *syslogOutput) dial(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syslogDial)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.address)
	if err != nil {
		return err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return errors.Join(fmt.Errorf("connection is a %T", conn), conn.Close())
	}
	if o.tls != nil {
		c := tls.Client(conn, o.tls)
		if err := c.HandshakeContext(ctx); err != nil {
			return errors.Join(err, conn.Close())
		}
		conn = c
	}
	o.conn, o.tcp, o.broken, o.reason = conn, tcp, make(chan struct{}), new(error)
	// A receiver sends nothing. Reading tells when it goes away, and in TLS why it does.
	go func(conn net.Conn, broken chan struct{}, reason *error) {
		defer close(broken)
		var b [512]byte
		for {
			if _, err := conn.Read(b[:]); err != nil {
				*reason = err
				return
			}
		}
	}(conn, o.broken, o.reason)
	return nil
}

func (o *syslogOutput) hasBroken() bool {
	select {
	case <-o.broken:
		return true
	default:
		return false
	}
}

func (o *syslogOutput) send(ctx context.Context, b *batch) error {
	if o.conn != nil && o.hasBroken() {
		o.hangUp()
		if time.Since(o.sent) < syslogDoubt+settleEvery {
			return o.closed() // what was sent before goes first, again
		}
	}
	if o.conn == nil {
		if err := o.dial(ctx); err != nil {
			return err
		}
	}
	conn := o.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // it ends the write
	defer stop()
	o.buf = o.buf[:0]
	for i := range b.len() {
		o.buf = o.format.appendFrame(o.buf, b.line(i))
		if len(o.buf) >= syslogChunk || i == b.len()-1 {
			if err := o.write(ctx); err != nil {
				o.hangUp()
				return err
			}
		}
	}
	if err := o.drain(ctx); err != nil {
		o.hangUp()
		return err
	}
	o.sent = time.Now()
	return nil
}

// write sends what is in buf, as long as the receiver takes some of it now and then.
func (o *syslogOutput) write(ctx context.Context) error {
	for p := o.buf; len(p) > 0; {
		part := p[:min(len(p), syslogChunk)]
		if err := o.conn.SetWriteDeadline(time.Now().Add(syslogStall)); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := o.conn.Write(part); err != nil {
			return err
		}
		p = p[len(part):]
	}
	o.buf = o.buf[:0]
	return nil
}

// drain waits until the receiver's machine has acknowledged every byte: what is in
// our own buffers would be lost with this process or the connection.
func (o *syslogOutput) drain(ctx context.Context) error {
	stalled, last := time.Now(), -1
	pause := 50 * time.Microsecond
	for {
		left, err := unacknowledged(o.tcp)
		if err != nil || left == 0 {
			return err
		}
		if left != last {
			last, stalled = left, time.Now()
		}
		if time.Since(stalled) > syslogStall {
			return errors.New("the receiver does not take what it is sent")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-o.broken:
			return o.closed()
		case <-time.After(pause):
		}
		pause = min(2*pause, 100*time.Millisecond)
	}
}

// closed says why the connection has ended, once it has.
func (o *syslogOutput) closed() error {
	return fmt.Errorf("the receiver closed the connection: %w", *o.reason)
}

func (o *syslogOutput) settle(context.Context) error {
	// Without a connection nothing has been sent: whatever ends one also returns an error.
	if o.conn != nil && o.hasBroken() {
		o.hangUp()
		return o.closed()
	}
	return nil
}

func (o *syslogOutput) doubt() time.Duration { return syslogDoubt }
func (o *syslogOutput) close()               { o.hangUp() }

func (o *syslogOutput) hangUp() {
	if o.conn != nil {
		_ = o.conn.Close() // nothing that was not drained counts as sent
		o.conn = nil
	}
}

func (o *syslogOutput) String() string {
	if o.tls != nil {
		return "syslog tls://" + o.address
	}
	return "syslog tcp://" + o.address
}
