package secrets_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"arca/internal/api"
	"arca/internal/api/smapi"
)

// modelSecret is what a client knows of a secret from the answers it got.
type modelSecret struct {
	arn         string
	values      map[string]string // by version id
	labels      model
	order       []string // version ids as they were made
	tags        []smapi.Tag
	description string
	scheduled   bool
}

// Calls in any order, on several secrets, leave what the rules say: each answer is
// the predicted one, and in the end every secret reads as predicted.
func TestOperationsAgreeWithModel(t *testing.T) {
	b := newBed(t)
	run := 0
	tb := t
	rapid.Check(t, func(t *rapid.T) {
		run++
		world := make(map[string]*modelSecret)
		name := rapid.Map(rapid.SampledFrom([]string{"a", "b/c"}), func(s string) string { return fmt.Sprintf("r%d/%s", run, s) })
		version := rapid.Map(rapid.IntRange(1, 5), func(n int) string { return *token(n) })
		// Values of ordinary size are part of the secret's record, large ones are not.
		content := rapid.SampledFrom([]string{"x", "y", strings.Repeat("z", 2000)})
		label := rapid.SampledFrom([]string{"AWSCURRENT", "AWSPREVIOUS", "AWSPENDING", "MINE"})
		for range rapid.IntRange(1, 25).Draw(t, "calls") {
			s := &sequel{tb: tb, t: t, b: b, world: world, name: name.Draw(t, "name")}
			s.sec = world[s.name]
			b.now = b.now.Add(1e6)
			switch op := rapid.SampledFrom([]string{"create", "put", "put", "update", "stage", "stage", "delete", "force", "restore", "tag", "untag", "older"}).Draw(t, "operation"); op {
			case "create":
				s.create(version.Draw(t, "token"), content.Draw(t, "value"))
			case "put":
				s.put(version.Draw(t, "token"), content.Draw(t, "value"), rapid.SliceOfNDistinct(label, 0, 2, rapid.ID[string]).Draw(t, "labels"))
			case "update":
				s.update(version.Draw(t, "token"), content.Draw(t, "value"))
			case "stage":
				s.stage(label.Draw(t, "label"), rapid.Ptr(version, true).Draw(t, "from"), rapid.Ptr(version, true).Draw(t, "to"))
			case "delete", "force":
				s.delete(op == "force")
			case "restore":
				s.restore()
			case "tag":
				s.tag(rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "value"))
			case "older":
				if s.sec != nil {
					b.asFormat4(tb, s.name) // the secret as former versions have left it
				}
			case "untag":
				s.untag(rapid.SampledFrom([]string{"k", "l"}).Draw(t, "key"))
			}
		}
		for name, sec := range world {
			s := &sequel{tb: tb, t: t, b: b, world: world, name: name, sec: sec}
			s.compare()
		}
	})
}

// sequel is one call on one secret, made and predicted.
type sequel struct {
	tb    testing.TB // of the whole test
	t     *rapid.T
	b     *bed
	world map[string]*modelSecret
	name  string
	sec   *modelSecret // nil when there is none
}

func answer[Out any](s *sequel, op *api.Operation, in any) (*Out, string) {
	out, err := do[Out](s.tb, s.b, op, in)
	if err == nil {
		return out, ""
	}
	aerr, ok := errors.AsType[*api.Error](err)
	if !ok {
		s.t.Fatalf("%s: %v", op.Name, err)
	}
	return nil, aerr.Code.Name
}

func (s *sequel) want(op, got, want string) bool {
	if got != want {
		s.t.Fatalf("%s on %s (%+v): error %q, want %q", op, s.name, s.sec, got, want)
	}
	return want == ""
}

// state is the error of any call that needs a secret in use.
func (s *sequel) state() string {
	switch {
	case s.sec == nil:
		return "ResourceNotFoundException"
	case s.sec.scheduled:
		return "InvalidRequestException"
	}
	return ""
}

// repeat says whether a token repeats an earlier call, and with what error.
func (s *sequel) repeat(id, value string) (known bool, code string) {
	have, known := s.sec.values[id]
	if known && have != value {
		return true, "ResourceExistsException"
	}
	return known, ""
}

func (s *sequel) create(id, value string) {
	out, got := answer[smapi.CreateSecretOutput](s, smapi.OpCreateSecret,
		&smapi.CreateSecretInput{Name: s.name, ClientRequestToken: &id, SecretString: sensitive(value)})
	switch {
	case s.sec == nil:
		s.want("create", got, "")
		s.world[s.name] = &modelSecret{arn: *out.ARN, values: map[string]string{id: value}, labels: model{"AWSCURRENT": id}, order: []string{id}}
	case s.sec.scheduled:
		s.want("create", got, "InvalidRequestException")
	default:
		known, code := s.repeat(id, value)
		if !known {
			code = "ResourceExistsException"
		}
		s.want("create", got, code)
	}
}

func (s *sequel) add(id, value string, labels []string) {
	if _, known := s.sec.values[id]; known {
		return
	}
	s.sec.values[id] = value
	s.sec.order = append(s.sec.order, id)
	s.sec.labels.put(id, labels)
}

func (s *sequel) put(id, value string, labels []string) {
	out, got := answer[smapi.PutSecretValueOutput](s, smapi.OpPutSecretValue,
		&smapi.PutSecretValueInput{SecretId: s.name, ClientRequestToken: &id, SecretString: sensitive(value), VersionStages: labels})
	want := s.state()
	if want == "" {
		_, want = s.repeat(id, value)
	}
	if !s.want("put", got, want) {
		return
	}
	s.add(id, value, labels)
	var carried []string
	for label, at := range s.sec.labels {
		if at == id {
			carried = append(carried, label)
		}
	}
	slices.Sort(carried)
	if shown := slices.Sorted(slices.Values(out.VersionStages)); !slices.Equal(shown, carried) {
		s.t.Fatalf("put shows labels %v, want %v", shown, carried)
	}
}

func (s *sequel) update(id, value string) {
	_, got := answer[smapi.UpdateSecretOutput](s, smapi.OpUpdateSecret,
		&smapi.UpdateSecretInput{SecretId: s.name, ClientRequestToken: &id, SecretString: sensitive(value), Description: &value})
	want := s.state()
	if want == "" {
		_, want = s.repeat(id, value)
	}
	if s.want("update", got, want) {
		s.add(id, value, nil)
		s.sec.description = value
	}
}

func (s *sequel) stage(label string, from, to *string) {
	_, got := answer[smapi.UpdateSecretVersionStageOutput](s, smapi.OpUpdateSecretVersionStage,
		&smapi.UpdateSecretVersionStageInput{SecretId: s.name, VersionStage: label, RemoveFromVersionId: from, MoveToVersionId: to})
	want := s.state()
	if want == "" && !s.movable(label, from, to) {
		want = "InvalidParameterException"
	}
	if !s.want("stage", got, want) {
		return
	}
	switch {
	case to == nil:
		delete(s.sec.labels, label)
	case label == "AWSCURRENT":
		s.sec.labels.promote(*to)
	default:
		s.sec.labels[label] = *to
	}
}

func (s *sequel) movable(label string, from, to *string) bool {
	for _, id := range []*string{from, to} {
		if id == nil {
			continue
		}
		if _, ok := s.sec.values[*id]; !ok {
			return false
		}
	}
	at, held := s.sec.labels[label]
	switch {
	case from == nil && to == nil, to == nil && label == "AWSCURRENT":
		return false
	case from != nil:
		return held && at == *from
	}
	return !held || at == *to
}

func (s *sequel) delete(force bool) {
	_, got := answer[smapi.DeleteSecretOutput](s, smapi.OpDeleteSecret,
		&smapi.DeleteSecretInput{SecretId: s.name, ForceDeleteWithoutRecovery: &force})
	if force {
		s.want("force", got, "")
		delete(s.world, s.name)
		return
	}
	if s.want("delete", got, s.state()) {
		s.sec.scheduled = true
	}
}

func (s *sequel) restore() {
	_, got := answer[smapi.RestoreSecretOutput](s, smapi.OpRestoreSecret, &smapi.RestoreSecretInput{SecretId: s.name})
	want := ""
	if s.sec == nil {
		want = "ResourceNotFoundException"
	}
	if s.want("restore", got, want) {
		s.sec.scheduled = false
	}
}

func (s *sequel) tag(key, value string) {
	_, got := answer[smapi.TagResourceOutput](s, smapi.OpTagResource, &smapi.TagResourceInput{SecretId: s.name, Tags: tags(key, value)})
	if !s.want("tag", got, s.state()) {
		return
	}
	for i := range s.sec.tags {
		if *s.sec.tags[i].Key == key {
			s.sec.tags[i].Value = &value
			return
		}
	}
	s.sec.tags = append(s.sec.tags, tags(key, value)...)
}

func (s *sequel) untag(key string) {
	_, got := answer[smapi.UntagResourceOutput](s, smapi.OpUntagResource, &smapi.UntagResourceInput{SecretId: s.name, TagKeys: []string{key}})
	if s.want("untag", got, s.state()) {
		s.sec.tags = slices.DeleteFunc(s.sec.tags, func(t smapi.Tag) bool { return *t.Key == key })
	}
}

// compare reads everything back.
func (s *sequel) compare() {
	got, code := answer[smapi.DescribeSecretOutput](s, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: s.sec.arn})
	s.want("describe", code, "")
	shown := make(map[string]string)
	for id, labels := range got.VersionIdsToStages {
		for _, label := range labels {
			shown[label] = id
		}
	}
	if diff := cmp.Diff(map[string]string(s.sec.labels), shown); diff != "" {
		s.t.Fatalf("labels of %s (-want +got):\n%s", s.name, diff)
	}
	if diff := cmp.Diff(s.sec.tags, got.Tags); diff != "" {
		s.t.Fatalf("tags of %s (-want +got):\n%s", s.name, diff)
	}
	description := ""
	if got.Description != nil {
		description = *got.Description
	}
	if description != s.sec.description || (got.DeletedDate != nil) != s.sec.scheduled || !strings.HasPrefix(*got.ARN, arnOfBed+s.name+"-") {
		s.t.Fatalf("%s is described as %+v, want %+v", s.name, got, s.sec)
	}
	for id, value := range s.sec.values {
		out, code := answer[smapi.GetSecretValueOutput](s, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: s.name, VersionId: &id})
		if s.want("get", code, s.state()) && string(*out.SecretString) != value {
			s.t.Fatalf("version %s of %s = %q, want %q", id, s.name, string(*out.SecretString), value)
		}
	}
}
