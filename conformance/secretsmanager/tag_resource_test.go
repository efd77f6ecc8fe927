package secretsmanager_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
)

// tagList makes tags of keys and values in turn.
func tagList(pairs ...string) []types.Tag {
	var tags []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return tags
}

func (k *kit) tag(id string, pairs ...string) error {
	_, err := k.TagResource(k.ctx(), &secretsmanager.TagResourceInput{SecretId: &id, Tags: tagList(pairs...)})
	return err
}

func (k *kit) untag(id string, keys ...string) error {
	_, err := k.UntagResource(k.ctx(), &secretsmanager.UntagResourceInput{SecretId: &id, TagKeys: keys})
	return err
}

// tags reads the tags of a secret; nil when there are none, also not an empty list.
func (k *kit) tags(id string) map[string]string {
	k.t.Helper()
	out, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &id})
	if err != nil {
		k.t.Fatal(err)
	}
	if out.Tags == nil {
		return nil
	}
	tags := map[string]string{}
	for _, t := range out.Tags {
		tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return tags
}

// Tag calls answer nothing: an SDK sees an empty structure.
func TestTagResourceAnswer(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	for op, body := range map[string]in{
		"TagResource":   {"SecretId": name, "Tags": []in{{"Key": "k", "Value": "v"}}},
		"UntagResource": {"SecretId": name, "TagKeys": []string{"k"}},
	} {
		a := askAnswer(t, op, body)
		if a.status != http.StatusOK || a.body != "" && a.body != "{}" {
			t.Errorf("%s answers %d %q, want 200 without members", op, a.status, a.body)
		}
	}
}

func TestTagResource(t *testing.T) {
	k := newKit(t)
	name := k.prefix + "s"
	k.create(&secretsmanager.CreateSecretInput{Name: &name, Tags: tagList("Team", "payments", "stage", "prod")})
	want := func(tags map[string]string) {
		t.Helper()
		if diff := cmp.Diff(tags, k.tags(name)); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
	}
	want(map[string]string{"Team": "payments", "stage": "prod"})
	k.must(nil, k.tag(name, "stage", "test", "team", "lower case is another key", "empty", ""))
	want(map[string]string{"Team": "payments", "stage": "test", "team": "lower case is another key", "empty": ""})
	k.must(nil, k.untag(name, "Team", "empty", "never there"))
	want(map[string]string{"stage": "test", "team": "lower case is another key"})
	k.must(nil, k.tag(name, "ключ", "значение ✓", "a b_c.d:e/f=g+h-i@j", "v"))
	k.must(nil, k.untag(name, "stage", "team"))
	want(map[string]string{"ключ": "значение ✓", "a b_c.d:e/f=g+h-i@j": "v"})
	k.must(nil, k.untag(name, "ключ", "a b_c.d:e/f=g+h-i@j"))
	want(map[string]string{})
}

func TestTagResourceQuota(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	var fifty []string
	for i := range 50 {
		fifty = append(fifty, fmt.Sprintf("key-%d", i), "v")
	}
	k.must(nil, k.tag(name, fifty...))
	k.must(nil, k.tag(name, "key-7", "another value"))
	wantError[*types.InvalidParameterException](t, k.tag(name, "one-more", "v"), "") // AWS's text is not known
	if got := len(k.tags(name)); got != 50 {
		t.Errorf("the secret has %d tags, want 50", got)
	}
}

func TestTagResourceErrors(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	wantError[*types.ResourceNotFoundException](t, k.tag(k.prefix+"none", "k", "v"), textNoSecret)
	wantError[*types.ResourceNotFoundException](t, k.untag(k.prefix+"none", "k"), textNoSecret)
	wantCode(t, k.tag("Inv Name", "k", "v"), "ValidationException", textBadName)
	wantCode(t, k.untag("Inv Name", "k"), "ValidationException", textBadName)
	for _, reserved := range []string{"aws:k", "AWS:k", "aWs:"} {
		wantError[*types.InvalidParameterException](t, k.tag(name, reserved, "v"), "")
	}
	wantError[*types.InvalidParameterException](t, k.tag(name, "k", "v", "k", "w"), "")
	wantInvalid(t, k.tag(name, "", "v"), "Value '' at 'tags.1.member.key' failed to satisfy constraint: Member must have length greater than or equal to 1")
	long := strings.Repeat("k", 129)
	wantInvalid(t, k.tag(name, "k", "v", long, "v"), "Value '"+long+"' at 'tags.2.member.key' failed to satisfy constraint: Member must have length less than or equal to 128")
	wantCode(t, k.tag(name, "k", strings.Repeat("v", 257)), "ValidationException", "")
	wantCode(t, rawError(t, "TagResource", in{"SecretId": name}), "ValidationException", "1 validation error detected: Value null at 'tags' failed to satisfy constraint: Member must not be null")
	wantCode(t, rawError(t, "UntagResource", in{"SecretId": name}), "ValidationException", "1 validation error detected: Value null at 'tagKeys' failed to satisfy constraint: Member must not be null")
	if got := k.tags(name); got != nil {
		t.Errorf("after refused calls there are tags: %v", got)
	}
}
