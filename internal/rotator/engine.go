package rotator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"arca/internal/egress"
)

// engine is what there is to know about one kind of database server.
type engine struct {
	names    []string // words for it in secrets; the first is the one to use
	port     uint16
	database string // where to log in when the secret does not say
	maxUser  int    // bytes of a user's name
	oneWord  bool   // names cannot hold spaces
	// both: a user can have several passwords at once, so that the current one goes on
	// working while the next one is tested.
	both bool
	open func(ctx context.Context, r *rotation, c *credential) (session, error)
}

func (e engine) is(name string) bool { return slices.Contains(e.names, name) }

var (
	postgres = engine{
		names: []string{"postgres", "aurora-postgresql"}, port: 5432, database: "postgres", maxUser: 63, open: openPostgres,
	}
	mySQL   = engine{names: []string{"mysql", "aurora-mysql"}, port: 3306, maxUser: 32, open: openMySQL}
	mariaDB = engine{names: []string{"mariadb"}, port: 3306, maxUser: 80, open: openMySQL}
	redis   = engine{names: []string{"redis", "valkey"}, port: 6379, maxUser: 128, oneWord: true, both: true, open: openRedis}
)

// session is a login that worked. Every method may be cut off anywhere; it is then
// unknown whether the server did what was asked.
type session interface {
	// check asks the server for something simple.
	check(ctx context.Context) error
	// setPassword gives the user the password. He is the one who is logged in, or any one
	// where the engine can have both. also are passwords that go on working, where the
	// engine can do that; all others end.
	setPassword(ctx context.Context, user, password string, also ...string) error
	// setTwin, as a superuser, makes next a user who may do what now may, and gives him
	// his password as the last thing: what is cut off before leaves no login that
	// works and can do less. It refuses to change a user who is there and is no twin.
	setTwin(ctx context.Context, now, next *credential) error
	close()
}

const (
	// loginTimeout is for one login, the connection included.
	loginTimeout = 10 * time.Second
	// sessionTimeout is the longest that a session may last.
	sessionTimeout = 60 * time.Second
	// maxSessionBytes is the most that is read from a server in one session.
	maxSessionBytes = 16 << 20
)

// errTooMuch: a server has more to say than any answer to a rotator holds.
var errTooMuch = fmt.Errorf("the server sends more than %d bytes", maxSessionBytes)

// dial connects to the server that a secret names. The connection ends by itself.
func (r *rotation) dial(ctx context.Context, c *credential) (net.Conn, error) {
	conn, err := r.cfg.Egress.Dial(ctx, net.JoinHostPort(c.host, strconv.Itoa(int(c.port))))
	if err != nil {
		return nil, err
	}
	return &boundedConn{Conn: conn, deadline: time.Now().Add(sessionTimeout), left: maxSessionBytes}, nil
}

// boundedConn ends after some time and some bytes, whatever deadlines a driver sets.
type boundedConn struct {
	net.Conn
	deadline time.Time
	left     int64
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

func (c *boundedConn) SetDeadline(t time.Time) error     { return c.Conn.SetDeadline(c.earlier(t)) }
func (c *boundedConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.earlier(t)) }
func (c *boundedConn) SetWriteDeadline(t time.Time) error {
	return c.Conn.SetWriteDeadline(c.earlier(t))
}

func (c *boundedConn) earlier(t time.Time) time.Time {
	if t.IsZero() || t.After(c.deadline) {
		return c.deadline
	}
	return t
}

// login logs in with a secret. An error of type LoginRefused means that the server was
// reached and does not know the name or the password.
func (u users) login(ctx context.Context, c *credential) (session, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	var s session
	err := guard(func() (err error) {
		s, err = u.engine.open(ctx, u.r, c)
		return err
	})
	if err != nil {
		return nil, u.loginError(ctx, c, err)
	}
	u.r.cfg.Log("logged in to %s as %q, %s", net.JoinHostPort(c.host, strconv.Itoa(int(c.port))), c.username, secured(c))
	return guarded{s}, nil
}

// guard makes an error of a panic. Drivers read what foreign servers send: what one of
// them does not expect must not be the end of everybody else.
func guard(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errorf(DatabaseError, "the answer of the database server was not understood")
		}
	}()
	return do()
}

// guarded is a session whose methods do not panic.
type guarded struct{ session }

func (g guarded) check(ctx context.Context) error {
	return guard(func() error { return g.session.check(ctx) })
}

func (g guarded) setPassword(ctx context.Context, user, password string, also ...string) error {
	return guard(func() error { return g.session.setPassword(ctx, user, password, also...) })
}

func (g guarded) setTwin(ctx context.Context, now, next *credential) error {
	return guard(func() error { return g.session.setTwin(ctx, now, next) })
}

func secured(c *credential) string {
	if c.plain {
		return "without TLS"
	}
	return "with TLS"
}

// loginError says what kept a login from working.
func (u users) loginError(ctx context.Context, c *credential, err error) error {
	server := net.JoinHostPort(c.host, strconv.Itoa(int(c.port)))
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, egress.ErrRefused):
		return errorf(Unreachable, "connect to %s: %s", server, text(err, egress.ErrRefused))
	case errors.Is(err, egress.ErrCertificate):
		return errorf(Unreachable, "connect to %s: %s", server, text(err, egress.ErrCertificate))
	case errors.Is(err, errNoTLS):
		return errorf(Unreachable, `connect to %s: the server does not offer TLS; "ssl": false in the secret does without`, server)
	case ctx.Err() != nil:
		return errorf(Unreachable, "connect to %s: no login within %v", server, loginTimeout)
	case errors.Is(err, io.EOF):
		return errorf(Unreachable, "connect to %s: the server closed the connection", server)
	}
	return errorf(Unreachable, "connect to %s: %v", server, err)
}

// errNoTLS: the server cannot do what the secret asks for.
var errNoTLS = errors.New("the server does not offer TLS")

// text is the part of an error's text that begins with one of its causes: drivers put
// much before it.
func text(err, cause error) string {
	if strings.HasPrefix(err.Error(), cause.Error()) {
		return err.Error()
	}
	var below []error
	switch e := err.(type) { //nolint:errorlint // the tree itself is walked
	case interface{ Unwrap() error }:
		below = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		below = e.Unwrap()
	}
	for _, e := range below {
		if e != nil && errors.Is(e, cause) {
			return text(e, cause)
		}
	}
	return cause.Error()
}

// refused reports whether it was the name or the password that a login failed for.
func refused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Type == LoginRefused
}
