package secretsmanager_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/google/go-cmp/cmp"
)

func TestBatchGetSecretValueMembers(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "v")
	out := ask(t, "BatchGetSecretValue", in{"SecretIdList": []string{name}})
	delete(out, "Errors") // whether AWS sends it when it is empty is not known
	wantMembers(t, out, "SecretValues")
	value := out["SecretValues"].([]any)[0].(map[string]any)
	wantMembers(t, value, "ARN", "Name", "VersionId", "SecretString", "VersionStages", "CreatedDate")
	if value["ARN"] != arn || value["SecretString"] != "v" {
		t.Errorf("value = %v", value)
	}
}

// What cannot be read is told beside the rest, and as GetSecretValue would tell it.
func TestBatchGetSecretValueErrorsBesideValues(t *testing.T) {
	k := newKit(t)
	one, _ := k.secret("one", "1")
	_, two := k.secret("two", "2")
	k.put(two, "current") // always the current version
	binary := k.prefix + "binary"
	k.create(&secretsmanager.CreateSecretInput{Name: &binary, SecretBinary: []byte{0, 255}})
	none, empty, gone := k.prefix+"none", k.empty("empty"), k.scheduled("gone")
	out, err := k.BatchGetSecretValue(k.ctx(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{one, none, two, gone, binary, empty}})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, v := range out.SecretValues {
		values[aws.ToString(v.Name)] = aws.ToString(v.SecretString) + string(v.SecretBinary)
	}
	if diff := cmp.Diff(map[string]string{one: "1", k.prefix + "two": "current", binary: "\x00\xff"}, values); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	type problem struct{ Code, Message string }
	problems := map[string]problem{}
	for _, e := range out.Errors {
		problems[aws.ToString(e.SecretId)] = problem{aws.ToString(e.ErrorCode), aws.ToString(e.Message)}
	}
	if diff := cmp.Diff(map[string]problem{
		none:  {"ResourceNotFoundException", textNoSecret},
		gone:  {"InvalidRequestException", textScheduled},
		empty: {"ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"},
	}, problems); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

func TestBatchGetSecretValueFilters(t *testing.T) {
	k := newKit(t)
	want := []string{}
	for i := range 25 {
		value := fmt.Sprintf("v%02d", i)
		k.secret(value, value)
		want = append(want, value)
	}
	for _, size := range []*int32{nil, aws.Int32(1), aws.Int32(6), aws.Int32(20)} {
		got := []string{}
		pages := secretsmanager.NewBatchGetSecretValuePaginator(k, &secretsmanager.BatchGetSecretValueInput{
			Filters: []types.Filter{filter("name", k.prefix)}, MaxResults: size,
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(k.ctx())
			if err != nil {
				t.Fatal(err)
			}
			if n := len(page.SecretValues); n > 20 || size != nil && n > int(*size) {
				t.Errorf("a page has %d values", n)
			}
			for _, v := range page.SecretValues {
				got = append(got, aws.ToString(v.SecretString))
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d (-want +got):\n%s", aws.ToInt32(size), diff)
		}
	}
}

func TestBatchGetSecretValueErrors(t *testing.T) {
	k := newKit(t)
	batch := func(in secretsmanager.BatchGetSecretValueInput) error {
		_, err := k.BatchGetSecretValue(k.ctx(), &in)
		return err
	}
	filters := []types.Filter{filter("name", k.prefix)}
	const either = "Either 'SecretIdList' or 'Filters' must be provided, but not both."
	wantError[*types.InvalidParameterException](t, batch(secretsmanager.BatchGetSecretValueInput{}), either)
	wantError[*types.InvalidParameterException](t, batch(secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"a"}, Filters: filters}), either)
	wantError[*types.InvalidParameterException](t, batch(secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{"a"}, MaxResults: aws.Int32(3)}),
		"'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	wantInvalid(t, batch(secretsmanager.BatchGetSecretValueInput{Filters: filters, MaxResults: aws.Int32(21)}),
		"Value '21' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 20")
	wantCode(t, batch(secretsmanager.BatchGetSecretValueInput{SecretIdList: make([]string, 21)}), "ValidationException", "")
	wantError[*types.InvalidNextTokenException](t, batch(secretsmanager.BatchGetSecretValueInput{Filters: filters, NextToken: aws.String("made-up")}), "")
}
