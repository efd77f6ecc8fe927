package rotator

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// redisSession is a login to Redis or Valkey.
type redisSession struct {
	r    *rotation
	conn net.Conn
	in   *bufio.Reader
}

func openRedis(ctx context.Context, r *rotation, c *credential) (session, error) {
	conn, err := r.dial(ctx, c)
	if err != nil {
		return nil, err
	}
	if !c.plain {
		secured := tls.Client(conn, r.cfg.Egress.TLS(c.host))
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
				return nil, errNoTLS
			}
			return nil, err
		}
		conn = secured
	}
	s := &redisSession{r: r, conn: conn, in: bufio.NewReaderSize(conn, maxReplyLine)}
	answer, err := s.do(ctx, "AUTH", c.username, c.password)
	if err != nil {
		s.close()
		if c.plain && errors.Is(err, io.EOF) {
			return nil, errorf(Unreachable, `the server closed the connection; it may want TLS, which "ssl": false in the secret does without`)
		}
		return nil, err
	}
	if refusal, ok := answer.(respError); ok {
		s.close()
		if refusal.is("WRONGPASS") {
			return nil, errorf(LoginRefused, "the server says: %s", refusal)
		}
		return nil, errorf(DatabaseError, "the server says: %s", refusal)
	}
	return s, nil
}

// do sends one command and reads its answer. When ctx ends the connection does.
func (s *redisSession) do(ctx context.Context, args ...string) (any, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	deadline, _ := ctx.Deadline() // the connection has one of its own, if there is none
	if err := s.conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := writeCommand(s.conn, args...); err != nil {
		return nil, err
	}
	return readReply(s.in)
}

// must is do where an error of the server's is an error.
func (s *redisSession) must(ctx context.Context, args ...string) (any, error) {
	answer, err := s.do(ctx, args...)
	if refusal, ok := answer.(respError); ok {
		return nil, errorf(DatabaseError, "the server says: %s", refusal)
	}
	return answer, err
}

func (s *redisSession) close() { _ = s.conn.Close() }

// check asks for a sign of life. A user may be forbidden even that; he is logged in all
// the same.
func (s *redisSession) check(ctx context.Context) error {
	answer, err := s.do(ctx, "PING")
	if refusal, ok := answer.(respError); ok && !refusal.is("NOPERM") {
		return errorf(DatabaseError, "the server says: %s", refusal)
	}
	return err
}

// hashed is a password as the server stores it; so it is in no log of commands.
func hashed(password string) string {
	sum := sha256.Sum256([]byte(password))
	return "#" + hex.EncodeToString(sum[:])
}

// setPassword gives a user these passwords and no others.
func (s *redisSession) setPassword(ctx context.Context, user, password string, also ...string) error {
	rules := []string{"resetpass", hashed(password)}
	for _, p := range also {
		rules = append(rules, hashed(p))
	}
	return s.setUser(ctx, user, rules)
}

// setTwin changes the other user, or makes him with the same rules.
func (s *redisSession) setTwin(ctx context.Context, now, next *credential) error {
	answer, err := s.must(ctx, "ACL", "LIST")
	if err != nil {
		return err
	}
	first, ok := userRules(answer, now.username)
	if !ok {
		return errorf(DatabaseError, "there is no user %q", now.username)
	}
	second, exists := userRules(answer, next.username)
	if !exists {
		// Rules add up. From nothing, two who make the user at once make the same.
		rules := append([]string{"reset"}, first...)
		return s.setUser(ctx, next.username, append(rules, hashed(next.password)))
	}
	// See postgresSession.checkTwin. To make the rules equal is not for a rotator: it
	// cannot know which of the two are meant.
	if !slices.Equal(first, second) {
		return errorf(DatabaseError, "user %q is there and has other rules than %q; make them equal, or delete the user", next.username, now.username)
	}
	return s.setUser(ctx, next.username, []string{"resetpass", hashed(next.password)})
}

// setUser changes a user and has the server write its users down, both or neither: a
// change that is forgotten at the next start would leave a password that does not work.
func (s *redisSession) setUser(ctx context.Context, user string, rules []string) error {
	for _, command := range [][]string{
		{"MULTI"}, append([]string{"ACL", "SETUSER", user}, rules...), {"ACL", "SAVE"},
	} {
		if _, err := s.must(ctx, command...); err != nil {
			return err
		}
	}
	answer, err := s.must(ctx, "EXEC")
	if err != nil {
		return err
	}
	results, ok := answer.([]any)
	if !ok || len(results) != 2 {
		return errReply
	}
	if refusal, ok := results[0].(respError); ok {
		return errorf(DatabaseError, "the server says: %s", refusal)
	}
	if refusal, ok := results[1].(respError); ok {
		if !strings.Contains(string(refusal), "not configured to use an ACL file") {
			return errorf(DatabaseError, "the server could not write its users down, and says: %s", refusal)
		}
		s.r.cfg.Log("the server has no ACL file: at its next start user %q will be what its configuration says", user)
	}
	return nil
}

// userRules finds a user in the answer of ACL LIST: all rules but passwords, and but
// sanitize-payload, which says no more than its absence does.
func userRules(answer any, user string) ([]string, bool) {
	lines, _ := answer.([]any)
	for _, line := range lines {
		text, _ := line.(string)
		rest, ok := strings.CutPrefix(text, "user "+user+" ")
		if !ok {
			continue
		}
		var rules []string
		for _, rule := range strings.Fields(rest) {
			if rule != "nopass" && rule != "sanitize-payload" && !strings.HasPrefix(rule, "#") {
				rules = append(rules, rule)
			}
		}
		return rules, true
	}
	return nil, false
}
