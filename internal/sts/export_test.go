package sts

import (
	"encoding/json"

	"arca/internal/call"
	"arca/internal/iam"
)

// NestedTags reads the claim of tags.
func NestedTags(raw json.RawMessage) ([]iam.Tag, []string, error) { return nestedTags(raw) }

// ParseRole takes the ARN of a role apart.
func ParseRole(text string) (account, name string, err error) {
	r, err := parseRole(text)
	return r.account, r.name, err
}

// Tags are the tags and transitive keys of a session that a caller with another session
// asks for.
func Tags(asked []iam.Tag, transitive []string, caller *call.Session) ([]iam.Tag, []string, error) {
	w := &wish{}
	if err := w.setTags(asked, transitive); err != nil {
		return nil, nil, err
	}
	if err := w.inherit(caller); err != nil {
		return nil, nil, err
	}
	return w.tags, w.transitive, nil
}
