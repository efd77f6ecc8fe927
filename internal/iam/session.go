package iam

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"arca/internal/call"
	"arca/internal/policy"
)

// A session token holds the whole session, sealed: nothing is stored, so nothing
// fills up, and every node can open it. It is bound to its access key id, and says
// whom it speaks for by unique id only; all else about them is looked up.

const sessionPurpose = "session-token"

// Session is what temporary credentials carry. Its members are written once, when
// the session is made.
type Session struct {
	KeyID   string `cbor:"1,keyasint"` // ASIA…
	Secret  string `cbor:"2,keyasint"`
	Account string `cbor:"3,keyasint"`
	// Issuer is the unique id of the role or user, or the account of a root.
	Issuer string `cbor:"4,keyasint"`
	// Name is that of a role's session; empty for GetSessionToken.
	Name    string `cbor:"5,keyasint,omitempty"`
	Issued  Millis `cbor:"6,keyasint"`
	Expires Millis `cbor:"7,keyasint"`
	// Policies and PolicyARNs are session policies: when there are any, the session may
	// do only what one of them allows.
	Policies       []string    `cbor:"8,keyasint,omitempty"`
	PolicyARNs     []string    `cbor:"9,keyasint,omitempty"`
	Tags           []Tag       `cbor:"10,keyasint,omitempty"`
	Transitive     []string    `cbor:"11,keyasint,omitempty"`
	SourceIdentity string      `cbor:"12,keyasint,omitempty"`
	Federation     *Federation `cbor:"13,keyasint,omitempty"`
	// Chained says that another role's session made this one.
	Chained bool `cbor:"14,keyasint,omitempty"`

	// digest identifies the token it was opened from.
	digest [sha256.Size]byte
}

// Federation is what is known of a session that a token of an OIDC provider opened.
type Federation struct {
	Provider string `cbor:"1,keyasint"` // ARN
	// Claims are condition keys with the values of the token's claims, such as
	// "issuer.example/path:sub".
	Claims []Claim `cbor:"2,keyasint,omitempty"`
}

// Claim is one condition key that a token gave values to.
type Claim struct {
	Key    string   `cbor:"1,keyasint"`
	Values []string `cbor:"2,keyasint"`
}

// maxTokenBytes bounds session tokens, which travel in a header.
const maxTokenBytes = 32 << 10

// NewSession draws key id and secret of a session and seals it into its token. Issued
// is set to the real time, Expires to as much later as lifetime says.
func (s *Service) NewSession(session *Session, lifetime time.Duration) (token string, err error) {
	session.KeyID = sessionKeyID(session.Account)
	session.Secret = newSecret()
	now := s.now()
	session.Issued, session.Expires = now.UnixMilli(), now.Add(lifetime).UnixMilli()
	plain, err := cbor.Marshal(session)
	if err != nil {
		return "", fmt.Errorf("encode session: %w", err)
	}
	defer clear(plain)
	sealed, err := s.store.Seal(sessionPurpose, plain, sessionAD(session.KeyID))
	if err != nil {
		return "", fmt.Errorf("seal session token: %w", err)
	}
	token = base64.StdEncoding.EncodeToString(sealed)
	if len(token) > maxTokenBytes {
		return "", fmt.Errorf("session token has %d bytes, more than %d", len(token), maxTokenBytes)
	}
	return token, nil
}

// openSession opens a token that was sent together with an access key id.
func (s *Service) openSession(keyID, token string) (*Session, error) {
	if len(token) > maxTokenBytes {
		return nil, ErrNoCredential
	}
	digest := sha256.Sum256([]byte(token))
	session := s.sessions.get(digest)
	if session == nil {
		sealed, err := base64.StdEncoding.Strict().DecodeString(token)
		if err != nil {
			return nil, ErrNoCredential
		}
		plain, err := s.store.Unseal(sessionPurpose, sealed, sessionAD(keyID))
		if err != nil {
			return nil, ErrNoCredential // a stranger's token, or of a key that was retired
		}
		defer plain.Wipe()
		session = &Session{digest: digest}
		if err := cbor.Unmarshal(plain.Bytes(), session); err != nil {
			return nil, fmt.Errorf("decode session token of %s: %w", keyID, err)
		}
		s.sessions.put(session)
	}
	if session.KeyID != keyID {
		return nil, ErrNoCredential
	}
	if s.now().UnixMilli() >= session.Expires {
		return nil, ErrExpired
	}
	return session, nil
}

func sessionAD(keyID string) []byte {
	return bytes.Join([][]byte{[]byte("session"), []byte(keyID)}, []byte{0})
}

// facts is what operations and decisions may know of a session. The issuer's ARN and
// name are those of today.
func (session *Session) facts() *call.Session {
	f := &call.Session{
		IssuerID: session.Issuer, Name: session.Name,
		Issued: time.UnixMilli(session.Issued).UTC(), Expires: time.UnixMilli(session.Expires).UTC(),
		Policies: session.Policies, PolicyARNs: session.PolicyARNs,
		TransitiveTags: session.Transitive, SourceIdentity: session.SourceIdentity, Chained: session.Chained,
	}
	for _, t := range session.Tags {
		f.Tags = append(f.Tags, call.Tag{Key: t.Key, Value: t.Value})
	}
	if session.Federation != nil {
		f.Provider = session.Federation.Provider
		for _, c := range session.Federation.Claims {
			f.Claims = append(f.Claims, policy.ContextKey{Name: c.Key, Values: slices.Clone(c.Values)})
		}
	}
	return f
}

// sessionKeyID draws the access key id of a session. It holds the account, so that
// GetAccessKeyInfo can tell it although no record exists; the other half is random.
func sessionKeyID(account string) string {
	var n uint64
	for i := range len(account) {
		n = n*10 + uint64(account[i]-'0')
	}
	var raw [10]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	var head [8]byte
	binary.BigEndian.PutUint64(head[:], n)
	copy(raw[:5], head[3:]) // 12 digits are fewer than 2⁴⁰
	return "ASIA" + idEncoding.EncodeToString(raw[:])
}

// SessionKeyAccount is the account that the access key id of a session was made for.
// Anybody can make up such an id: it proves nothing.
func SessionKeyAccount(keyID string) (account string, ok bool) {
	if len(keyID) != 20 || keyID[:4] != "ASIA" {
		return "", false
	}
	raw, err := idEncoding.DecodeString(keyID[4:])
	if err != nil {
		return "", false
	}
	n := binary.BigEndian.Uint64(append(make([]byte, 3, 8), raw[:5]...))
	if n >= 1e12 {
		return "", false
	}
	return fmt.Sprintf("%012d", n), true
}

// maxSessions bounds the sessions that are kept open, a few hundred bytes each as a
// rule and maxTokenBytes at most.
const maxSessions = 2048

// sessionCache keeps sessions whose tokens were opened: opening one costs about as
// much as all else of a lookup. What may change later, expiry and the issuer's
// existence, is looked at on every use.
type sessionCache struct {
	mu   sync.RWMutex
	open map[[sha256.Size]byte]*Session // guarded by mu; by digest of the token
}

func (c *sessionCache) get(digest [sha256.Size]byte) *Session {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.open[digest]
}

func (c *sessionCache) put(session *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil || len(c.open) >= maxSessions {
		c.open = make(map[[sha256.Size]byte]*Session)
	}
	c.open[session.digest] = session
}
