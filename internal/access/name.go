package access

import (
	"errors"
	"strings"

	"arca/internal/arn"
	"arca/internal/call"
	"arca/internal/iam"
	"arca/internal/store"
)

// Errors about principals that somebody asks about.
var (
	// ErrName: the text does not name a principal.
	ErrName = errors.New("not an ARN of a user, role, session or root, nor user/NAME, role/NAME or root")
	// ErrNoPrincipal: there is no such principal.
	ErrNoPrincipal = errors.New("no such principal")
)

// Name is a principal that somebody asks about: the root of an account, a user, a
// role or one session of a role. It need not exist.
type Name struct {
	Account string
	kind    call.PrincipalType
	name    string // without path
	arn     string // as written; "" for a short form
	session string // of an ARN of a session
}

// ParseName reads the ARN of a principal or a short form of one, which is of the
// given account: "root", "user/NAME", "role/NAME". Twelve digits are the root of that
// account. The error is ErrName.
func ParseName(text, account string) (Name, error) {
	switch {
	case text == "root":
		return Name{Account: account, kind: call.Root}, nil
	case arn.ValidAccount(text):
		return Name{Account: text, kind: call.Root}, nil
	}
	n := Name{Account: account}
	resource := text
	if arn.IsARN(text) {
		a, err := arn.Parse(text)
		if err != nil || !arn.ValidAccount(a.Account) || a.Service != "iam" && a.Service != "sts" {
			return Name{}, ErrName
		}
		n.Account, n.arn, resource = a.Account, text, a.Resource
		if (a.Service == "sts") != strings.HasPrefix(resource, "assumed-role/") {
			return Name{}, ErrName
		}
	}
	kind, rest, _ := strings.Cut(resource, "/")
	last := rest[strings.LastIndexByte(rest, '/')+1:]
	switch kind {
	case "root":
		n.kind = call.Root
		if rest != "" || resource != "root" {
			return Name{}, ErrName
		}
		return n, nil
	case "user":
		n.kind, n.name = call.IAMUser, last
	case "role":
		n.kind, n.name = call.AssumedRole, last
	case "assumed-role":
		n.kind = call.AssumedRole
		n.name, n.session, _ = strings.Cut(rest, "/")
		if n.arn == "" || n.session == "" {
			return Name{}, ErrName
		}
	}
	if n.name == "" {
		return Name{}, ErrName
	}
	return n, nil
}

// anySession is the name of the session when somebody asks about a role as a whole.
const anySession = "any-session"

// principal finds whom a name means, as a caller with no more than the policies of
// its records. The error is ErrNoPrincipal.
func (s *Service) principal(v *store.Snap, n Name) (p call.Principal, err error) {
	if s.cfg.IAM.Account(v, n.Account) == nil {
		return p, ErrNoPrincipal
	}
	switch n.kind {
	case call.Root:
		return iam.RootPrincipal(n.Account, ""), nil
	case call.IAMUser:
		u := s.cfg.IAM.User(v, n.Account, n.name)
		if u == nil || n.arn != "" && n.arn != u.ARN() {
			return p, ErrNoPrincipal
		}
		return userPrincipal(u), nil
	}
	r := s.cfg.IAM.Role(v, n.Account, n.name)
	if r == nil || n.session == "" && n.arn != "" && n.arn != r.ARN() || n.session != "" && n.arn != r.SessionARN(n.session) {
		return p, ErrNoPrincipal
	}
	session := n.session
	if session == "" {
		session = anySession
	}
	return rolePrincipal(r, session), nil
}

func userPrincipal(u *iam.User) call.Principal {
	return call.Principal{
		Type: call.IAMUser, Account: u.Account, ID: u.UID, UniqueID: u.UID, ARN: u.ARN(), UserName: u.Name,
	}
}

func rolePrincipal(r *iam.Role, session string) call.Principal {
	return call.Principal{
		Type: call.AssumedRole, Account: r.Account, ID: r.UID + ":" + session, UniqueID: r.UID, ARN: r.SessionARN(session),
		Session: &call.Session{IssuerType: "Role", IssuerID: r.UID, IssuerARN: r.ARN(), IssuerName: r.Name, Name: session},
	}
}

// shownARN is how people name a principal: a role asked about as a whole by its own
// ARN.
func shownARN(p *call.Principal) string {
	if p.Type == call.AssumedRole && p.Session.Name == anySession {
		return p.Session.IssuerARN
	}
	return p.ARN
}
