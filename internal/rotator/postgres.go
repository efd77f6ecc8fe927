package rotator

import (
	"context"
	"crypto/hmac"
	"crypto/md5" // what the server keeps for clients that know nothing better
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresSession is a login to PostgreSQL.
type postgresSession struct{ conn *pgconn.PgConn }

// maxPostgresMessage bounds a message of the server.
const maxPostgresMessage = 1 << 20

func openPostgres(ctx context.Context, r *rotation, c *credential) (session, error) {
	// The driver wants its configuration made by a parser that also looks at the
	// environment. Whatever that brought is replaced.
	cfg, err := pgconn.ParseConfig("host=localhost user=- password=- sslmode=disable")
	if err != nil {
		return nil, errors.New("the environment has settings for PostgreSQL that cannot be read")
	}
	cfg.Host, cfg.Port, cfg.Database, cfg.User, cfg.Password = c.host, c.port, c.database, c.username, c.password
	cfg.Fallbacks, cfg.RuntimeParams = nil, map[string]string{"application_name": "arca"}
	cfg.ConnectTimeout, cfg.MaxProtocolMessageBodyLen = loginTimeout, maxPostgresMessage
	cfg.ValidateConnect, cfg.AfterConnect, cfg.AfterNetConnect = nil, nil, nil
	cfg.SSLNegotiation, cfg.SSLCertMode, cfg.ChannelBinding = "postgres", "disable", "prefer"
	cfg.MinProtocolVersion, cfg.MaxProtocolVersion = "3.0", "3.0"
	// No password goes out in the clear where others can listen.
	cfg.RequireAuth = "!password"
	if !c.plain {
		cfg.TLSConfig, cfg.RequireAuth = r.cfg.Egress.TLS(c.host), ""
	}
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // Egress looks up
	cfg.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return r.dial(ctx, c) }
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, postgresLoginError(err)
	}
	s := &postgresSession{conn}
	// Settings of a role or a database, which others may choose, shall change neither
	// who asks nor what a name in a statement means.
	if err := s.exec(ctx, "SET ROLE NONE; SET search_path TO pg_catalog"); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func postgresLoginError(err error) error {
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && (refusal.Code == "28P01" || refusal.Code == "28000"):
		return errorf(LoginRefused, "the server says: %s (%s)", refusal.Message, refusal.Code)
	case ok:
		return errorf(DatabaseError, "the server says: %s (%s)", refusal.Message, refusal.Code)
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return errNoTLS
	}
	return err
}

// exec runs statements; query runs one with parameters and returns its rows.
func (s *postgresSession) exec(ctx context.Context, statements string) error {
	_, err := s.conn.Exec(ctx, statements).ReadAll()
	return postgresError(err)
}

func (s *postgresSession) query(ctx context.Context, statement string, params ...string) ([][][]byte, error) {
	values := make([][]byte, len(params))
	for i, p := range params {
		values[i] = []byte(p)
	}
	result := s.conn.ExecParams(ctx, statement, values, nil, nil, nil).Read()
	return result.Rows, postgresError(result.Err)
}

func postgresError(err error) error {
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok {
		return errorf(DatabaseError, "the server says: %s (%s)", refusal.Message, refusal.Code)
	}
	return err
}

func (s *postgresSession) close() {
	ctx, cancel := context.WithTimeout(context.Background(), loginTimeout)
	defer cancel()
	_ = s.conn.Close(ctx)
}

func (s *postgresSession) check(ctx context.Context) error {
	_, err := s.query(ctx, "SELECT now()")
	return err
}

// setPassword is for the user who is logged in.
func (s *postgresSession) setPassword(ctx context.Context, user, password string, _ ...string) error {
	verifier, err := s.verifier(ctx, user, password)
	if err != nil {
		return err
	}
	return s.exec(ctx, "ALTER ROLE SESSION_USER PASSWORD "+verifier)
}

// verifier makes what the server stores, as a literal: the password itself reaches
// neither the server nor its log. The kind is the one that the server would make.
func (s *postgresSession) verifier(ctx context.Context, user, password string) (string, error) {
	rows, err := s.query(ctx, "SELECT current_setting('password_encryption'), current_setting('scram_iterations', true)")
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 2 {
		return "", errorf(DatabaseError, "the server does not say how it keeps passwords")
	}
	switch kind := string(rows[0][0]); kind {
	case "scram-sha-256":
		iterations, err := strconv.Atoi(string(rows[0][1]))
		if err != nil {
			iterations = scramIterations // before PostgreSQL 16
		}
		return scramVerifier(password, min(max(iterations, scramIterations), maxScramIterations))
	case "md5", "on":
		sum := md5.Sum([]byte(password + user))
		return "'md5" + hex.EncodeToString(sum[:]) + "'", nil
	default:
		return "", errorf(DatabaseError, "the server keeps passwords in a way that is not supported: password_encryption is %s", kind)
	}
}

const (
	scramIterations = 4096
	// maxScramIterations bounds what a server can have us compute.
	maxScramIterations = 1_000_000
)

// scramVerifier is RFC 5803's form of RFC 7677, as PostgreSQL stores it.
func scramVerifier(password string, iterations int) (string, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive verifier: %w", err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("'SCRAM-SHA-256$%d:%s$%s:%s'", iterations, b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}

// setTwin works in one transaction: either the other role is there with its membership
// and its password, or nothing changed.
func (s *postgresSession) setTwin(ctx context.Context, now, next *credential) error {
	verifier, err := s.verifier(ctx, next.username, next.password)
	if err != nil {
		return err
	}
	if err := s.exec(ctx, "BEGIN"); err != nil {
		return err
	}
	// A connection that ends in between ends the transaction.
	exists, err := s.checkTwin(ctx, now.username, next.username)
	if err != nil {
		return err
	}
	role, first := pgx.Identifier{next.username}.Sanitize(), pgx.Identifier{now.username}.Sanitize()
	if exists {
		err = s.exec(ctx, "ALTER ROLE "+role+" PASSWORD "+verifier)
	} else {
		err = s.exec(ctx, "CREATE ROLE "+role+" LOGIN PASSWORD "+verifier+"; GRANT "+first+" TO "+role)
	}
	if err != nil {
		return err
	}
	return s.exec(ctx, "COMMIT")
}

// checkTwin finds out whether a role is there, and refuses to change one that has more
// power than the current role or has nothing to do with it. Else whoever could choose
// a name that ends in _clone would have a superuser give him somebody else's password.
func (s *postgresSession) checkTwin(ctx context.Context, now, next string) (exists bool, err error) {
	rows, err := s.query(ctx, `
		WITH RECURSIVE up(role, member) AS (
			SELECT roleid, member FROM pg_catalog.pg_auth_members
			UNION SELECT m.roleid, up.member FROM pg_catalog.pg_auth_members m JOIN up ON m.member = up.role)
		SELECT n.rolcanlogin,
			EXISTS (SELECT 1 FROM up WHERE up.role = n.oid AND up.member = c.oid),
			EXISTS (SELECT 1 FROM up WHERE up.role = c.oid AND up.member = n.oid),
			n.rolsuper AND NOT c.rolsuper OR n.rolcreaterole AND NOT c.rolcreaterole OR n.rolcreatedb AND NOT c.rolcreatedb
				OR n.rolreplication AND NOT c.rolreplication OR n.rolbypassrls AND NOT c.rolbypassrls
		FROM pg_catalog.pg_roles c LEFT JOIN pg_catalog.pg_roles n ON n.rolname = $2
		WHERE c.rolname = $1`, now, next)
	if err != nil {
		return false, err
	}
	if len(rows) != 1 || len(rows[0]) != 4 {
		return false, errorf(DatabaseError, "there is no role %q", now)
	}
	row := rows[0]
	if row[0] == nil {
		return false, nil
	}
	canLogin, above, below, more := is(row[0]), is(row[1]), is(row[2]), is(row[3])
	switch {
	case !canLogin:
		return false, errorf(DatabaseError, "role %q may not log in", next)
	case above: // the current role can act as it anyhow
		return true, nil
	case !below:
		return false, errorf(DatabaseError, "role %q is there and is not a member of %q; GRANT makes it the second of the two users, if it is meant to be", next, now)
	case more:
		return false, errorf(DatabaseError, "role %q has more power than %q", next, now)
	}
	return true, nil
}

func is(value []byte) bool { return string(value) == "t" }
