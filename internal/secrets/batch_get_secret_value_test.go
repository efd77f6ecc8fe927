package secrets_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/call"
	"arca/internal/policy"
)

func batchValues(out *smapi.BatchGetSecretValueOutput) []string {
	var values []string
	for _, v := range out.SecretValues {
		values = append(values, *v.Name+"="+string(*v.SecretString))
	}
	return values
}

func TestBatchGetSecretValueByID(t *testing.T) {
	b := newBed(t)
	b.create(t, "a")
	second := b.create(t, "b")
	b.create(t, "empty", func(in *smapi.CreateSecretInput) { in.SecretString = nil })
	b.create(t, "secret", func(in *smapi.CreateSecretInput) {})
	b.create(t, "scheduled")
	b.create(t, "binary", func(in *smapi.CreateSecretInput) { in.SecretString, in.SecretBinary = nil, api.SensitiveBytes{0, 1} })
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "scheduled"})
	before := len(b.auditEvents(t))
	b.questions()
	b.refuse(func(ck *call.Check) bool {
		return ck.Action == "secretsmanager:GetSecretValue" && slices.ContainsFunc(ck.Keys, func(k policy.ContextKey) bool {
			return k.Name == "secretsmanager:SecretId" && k.Values[0] == "secret"
		})
	})
	defer b.refuse(nil)

	ids := []string{"none", *second.ARN, "a", "empty", "secret", "scheduled", "bad name", "binary", "a"}
	out := must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{SecretIdList: ids})

	binary := out.SecretValues[2]
	if *binary.Name != "binary" || !slices.Equal(binary.SecretBinary, []byte{0, 1}) || binary.SecretString != nil {
		t.Errorf("third value is %s with %d bytes, want the binary one", *binary.Name, len(binary.SecretBinary))
	}
	out.SecretValues = slices.Delete(out.SecretValues, 2, 3)
	if got, want := batchValues(out), []string{"b=value of b", "a=value of a", "a=value of a"}; !slices.Equal(got, want) {
		t.Errorf("values = %q, want %q", got, want)
	}
	var failed []string
	for _, e := range out.Errors {
		failed = append(failed, fmt.Sprintf("%s: %s: %s", *e.SecretId, *e.ErrorCode, *e.Message))
	}
	wantFailed := []string{
		"none: " + noSecret,
		"empty: ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSCURRENT",
		"secret: " + denial("GetSecretValue"),
		"scheduled: " + wasScheduled,
		"bad name: " + badName,
	}
	if diff := cmp.Diff(wantFailed, failed); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	if out.NextToken != nil {
		t.Error("a batch by id has a NextToken")
	}

	asked := b.questions()
	if asked[0].Action != "secretsmanager:BatchGetSecretValue" || asked[0].Resource != "*" {
		t.Errorf("first question %+v, want BatchGetSecretValue on *", asked[0])
	}
	if len(asked) != 1+len(ids)-1 { // the bad name never gets that far
		t.Errorf("%d questions, want one for the batch and one per secret", len(asked))
	}
	events := b.auditEvents(t)[before:]
	wantEvents := []string{
		"BatchGetSecretValue",
		"GetSecretValue none ResourceNotFoundException", "GetSecretValue " + *second.ARN, "GetSecretValue a",
		"GetSecretValue empty ResourceNotFoundException", "GetSecretValue secret AccessDenied",
		"GetSecretValue scheduled InvalidRequestException", "GetSecretValue bad name ValidationException",
		"GetSecretValue binary", "GetSecretValue a",
	}
	for i := range events { // which of the two codes of a denial a record shows is not decided here
		if events[i] == "GetSecretValue secret AccessDeniedException" {
			events[i] = "GetSecretValue secret AccessDenied"
		}
	}
	if diff := cmp.Diff(wantEvents, events); diff != "" {
		t.Errorf("audit records (-want +got):\n%s", diff)
	}
}

func TestBatchGetSecretValueByFilter(t *testing.T) {
	b := newBed(t)
	var want []string
	for n := range 45 {
		name := fmt.Sprintf("app/%02d", n)
		b.create(t, name)
		want = append(want, name+"=value of "+name)
	}
	b.create(t, "other")
	b.create(t, "app/gone")
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "app/gone"})
	for _, size := range []*int32{nil, new(int32(1)), new(int32(7)), new(int32(20))} {
		var got []string
		in := &smapi.BatchGetSecretValueInput{Filters: []smapi.Filter{filterOf("name", "app/")}, MaxResults: size}
		for {
			out := must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, in)
			if len(out.SecretValues) > 20 || out.Errors == nil || len(out.Errors) != 0 {
				t.Fatalf("page of %d values, %d errors", len(out.SecretValues), len(out.Errors))
			}
			got = append(got, batchValues(out)...)
			if in.NextToken = out.NextToken; in.NextToken == nil {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("values = %q, want %q", got, want)
		}
	}
	out := must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{Filters: []smapi.Filter{filterOf("name", "zzz")}})
	if out.SecretValues == nil || len(out.SecretValues) != 0 || out.NextToken != nil {
		t.Errorf("a filter that matches nothing gives %d values, next %v", len(out.SecretValues), out.NextToken)
	}
}

func TestBatchGetSecretValueErrors(t *testing.T) {
	b := newBed(t)
	b.create(t, "a")
	filters := []smapi.Filter{filterOf("name", "a")}
	const notBoth = "InvalidParameterException: Either 'SecretIdList' or 'Filters' must be provided, but not both."
	for _, tc := range []struct {
		name string
		in   smapi.BatchGetSecretValueInput
		want string
	}{
		{"neither", smapi.BatchGetSecretValueInput{}, notBoth},
		{"empty filters", smapi.BatchGetSecretValueInput{Filters: []smapi.Filter{}}, notBoth},
		{"both", smapi.BatchGetSecretValueInput{SecretIdList: []string{"a"}, Filters: filters}, notBoth},
		{"MaxResults without filters", smapi.BatchGetSecretValueInput{SecretIdList: []string{"a"}, MaxResults: new(int32(1))},
			"InvalidParameterException: 'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided."},
		{"token without filters", smapi.BatchGetSecretValueInput{SecretIdList: []string{"a"}, NextToken: new("AAAA")}, badPageToken},
		{"bad token", smapi.BatchGetSecretValueInput{Filters: filters, NextToken: new("AAAA")}, badPageToken},
		{"filter without key", smapi.BatchGetSecretValueInput{Filters: []smapi.Filter{{Values: []string{"a"}}}}, "InvalidParameterException: Invalid filter key"},
	} {
		t.Run(tc.name, func(t *testing.T) { refused(t, b, smapi.OpBatchGetSecretValue, &tc.in, tc.want) })
	}
	t.Run("batch denied", func(t *testing.T) {
		b.denies(t, "BatchGetSecretValue")
		refused(t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{}, denial("BatchGetSecretValue"))
	})
	t.Run("list denied", func(t *testing.T) {
		b.denies(t, "ListSecrets")
		refused(t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{Filters: filters}, denial("ListSecrets"))
		must[smapi.BatchGetSecretValueOutput](t, b, smapi.OpBatchGetSecretValue, &smapi.BatchGetSecretValueInput{SecretIdList: []string{"a"}})
	})
}
