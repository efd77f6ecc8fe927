package rotator

import (
	"context"
	"errors"
)

// generic makes new values and tells nobody: for secrets whose users read them, and
// for ones that somebody else puts in place.
type generic struct{ r *rotation }

// defaultField is the member that gets a new value.
const defaultField = "password"

// create replaces one member of the current value, which is the template for all others,
// or the whole value if that is not a JSON object.
func (g *generic) create(ctx context.Context) error {
	value, err := g.r.value(ctx, g.r.ev.SecretID, "", awsCurrent)
	if err != nil {
		return err
	}
	g.r.hide(value)
	if _, err := g.r.pendingValue(ctx); err == nil {
		g.r.cfg.Log("createSecret: version %s has its value already", g.r.ev.ClientRequestToken)
		return nil
	} else if !errors.Is(err, errNoValue) {
		return err
	}
	field, asked := g.r.cfg.Environment["SECRET_FIELD"]
	if !asked {
		field = defaultField
	}
	doc, err := parseDocument(value)
	if err != nil && asked {
		return err
	}
	// A value that begins like an object and is none was hardly meant as a password.
	if err != nil && looksLikeJSON(value) {
		return err
	}
	password, perr := g.r.newPassword(ctx)
	if perr != nil {
		return perr
	}
	next := password
	if err == nil {
		if _, ok, err := doc.text(field); err != nil {
			return err
		} else if !ok {
			return errorf(InvalidSecret, "%s key is missing from secret JSON; SECRET_FIELD in the function's environment names another one", field)
		}
		next = doc.with(field, password).String()
	}
	if err := g.r.put(ctx, next); err != nil {
		return err
	}
	g.r.cfg.Log("createSecret: version %s of secret %s has a new value", g.r.ev.ClientRequestToken, g.r.ev.SecretID)
	return nil
}

func (g *generic) set(context.Context) error {
	g.r.cfg.Log("setSecret: nothing to do")
	return nil
}

func (g *generic) test(ctx context.Context) error {
	value, err := g.r.pendingValue(ctx)
	if err != nil {
		return err
	}
	if value == "" {
		return errorf(InvalidSecret, "version %s is empty", g.r.ev.ClientRequestToken)
	}
	g.r.cfg.Log("testSecret: version %s has a value", g.r.ev.ClientRequestToken)
	return nil
}

func (g *generic) finish(ctx context.Context) error { return g.r.moveCurrent(ctx) }

func (g *generic) tidy(context.Context) error { return nil }

func looksLikeJSON(value string) bool {
	for _, c := range value {
		switch c {
		case ' ', '\t', '\n', '\r':
			continue
		case '{', '[':
			return true
		}
		return false
	}
	return false
}
