package wire_test

import (
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/smapi"
	"arca/internal/wire"
)

func TestConstraints(t *testing.T) {
	const regions = `^([a-z]+-)+\d+$`
	long := strings.Repeat("x", 2049)
	for _, tt := range []struct {
		name string
		op   *api.Operation
		body string
		want string // parts, joined; "" for a valid input
	}{
		{"required", smapi.OpGetSecretValue, `{}`, "Value null at 'secretId' failed to satisfy constraint: Member must not be null"},
		{"required and null", smapi.OpGetSecretValue, `{"SecretId":null}`, "Value null at 'secretId' failed to satisfy constraint: Member must not be null"},
		{"required and empty", smapi.OpGetSecretValue, `{"SecretId":""}`,
			"Value '' at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"required list", smapi.OpTagResource, `{"SecretId":"a"}`, "Value null at 'tags' failed to satisfy constraint: Member must not be null"},
		{"two at once", smapi.OpGetSecretValue, `{"VersionStage":""}`,
			"Value null at 'secretId' failed to satisfy constraint: Member must not be null; " +
				"Value '' at 'versionStage' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"too short", smapi.OpGetSecretValue, `{"SecretId":"a","VersionId":"v1"}`,
			"Value 'v1' at 'versionId' failed to satisfy constraint: Member must have length greater than or equal to 32"},
		{"too long", smapi.OpGetSecretValue, `{"SecretId":"` + long + `"}`,
			"Value '" + long + "' at 'secretId' failed to satisfy constraint: Member must have length less than or equal to 2048"},
		{"characters count, not bytes", smapi.OpGetSecretValue, `{"SecretId":"` + strings.Repeat("🔑", 2048) + `"}`, ""},
		{"one character too many", smapi.OpGetSecretValue, `{"SecretId":"x","VersionStage":"` + strings.Repeat("é", 257) + `"}`,
			"Value '" + strings.Repeat("é", 257) + "' at 'versionStage' failed to satisfy constraint: Member must have length less than or equal to 256"},
		{"few characters of many bytes", smapi.OpGetSecretValue, `{"SecretId":"x","VersionId":"` + strings.Repeat("🔑", 31) + `"}`,
			"Value '" + strings.Repeat("🔑", 31) + "' at 'versionId' failed to satisfy constraint: Member must have length greater than or equal to 32"},
		{"empty is allowed", smapi.OpUpdateSecret, `{"SecretId":"a","Description":"","KmsKeyId":""}`, ""},
		{"number too small", smapi.OpGetRandomPassword, `{"PasswordLength":0}`,
			"Value '0' at 'passwordLength' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"number too large", smapi.OpListSecrets, `{"MaxResults":101}`,
			"Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100"},
		{"no bound in the model", smapi.OpDeleteSecret, `{"SecretId":"a","RecoveryWindowInDays":-1}`, ""},
		{"enum", smapi.OpListSecrets, `{"SortOrder":"up"}`,
			"Value 'up' at 'sortOrder' failed to satisfy constraint: Member must satisfy enum value set: [asc, desc]"},
		{"nested structure", smapi.OpRotateSecret, `{"SecretId":"a","RotationRules":{"AutomaticallyAfterDays":1001,"Duration":"3hours"}}`,
			"Value '1001' at 'rotationRules.automaticallyAfterDays' failed to satisfy constraint: Member must have value less than or equal to 1000; " +
				"Value '3hours' at 'rotationRules.duration' failed to satisfy constraint: Member must have length less than or equal to 3; " +
				"Value '3hours' at 'rotationRules.duration' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9]+h"},
		{"pattern covers the whole value", smapi.OpRotateSecret, `{"SecretId":"a","RotationRules":{"Duration":"3h\n"}}`,
			"Value '3h\n' at 'rotationRules.duration' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9]+h"},
		{"list of structures", smapi.OpListSecrets, `{"Filters":[{"Key":"name","Values":["a"]},{"Key":"colour","Values":[]}]}`,
			"Value 'colour' at 'filters.2.member.key' failed to satisfy constraint: Member must satisfy enum value set: " +
				"[description, name, tag-key, tag-value, primary-region, owning-service, all]; " +
				"Value '[]' at 'filters.2.member.values' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"null in a list of structures", smapi.OpTagResource, `{"SecretId":"a","Tags":[{},null]}`,
			"Value null at 'tags.2.member' failed to satisfy constraint: Member must not be null"},
		{"list of strings", smapi.OpRemoveRegionsFromReplication, `{"SecretId":"a","RemoveReplicaRegions":["eu-west-1","Mars",""]}`,
			"Value '[eu-west-1, Mars, ]' at 'removeReplicaRegions' failed to satisfy constraint: Member must satisfy constraint: " +
				"[Member must have length less than or equal to 128, Member must have length greater than or equal to 1, " +
				"Member must satisfy regular expression pattern: " + regions + "]"},
		{"null in a list of strings", smapi.OpUntagResource, `{"SecretId":"a","TagKeys":["k",null]}`,
			"Value '[k, ]' at 'tagKeys' failed to satisfy constraint: Member must satisfy constraint: " +
				"[Member must have length less than or equal to 128, Member must have length greater than or equal to 1, Member must not be null]"},
		{"list too long", smapi.OpListSecrets, `{"Filters":[` + strings.TrimSuffix(strings.Repeat(`{"Key":"all","Values":["a","b"]},`, 11), ",") + `]}`,
			"Value '[" + strings.TrimSuffix(strings.Repeat("Filter(key=all, values=[a, b]), ", 11), ", ") + "]' at 'filters' failed to satisfy constraint: " +
				"Member must have length less than or equal to 10"},
		{"list too short", smapi.OpReplicateSecretToRegions, `{"SecretId":"a","AddReplicaRegions":[]}`,
			"Value '[]' at 'addReplicaRegions' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"sensitive string", smapi.OpPutSecretValue, `{"SecretId":"a","SecretString":"","RotationToken":"hunter2"}`,
			"Value at 'secretString' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
				"Value at 'rotationToken' failed to satisfy constraint: Member must have length greater than or equal to 36"},
		{"sensitive string too long", smapi.OpPutSecretValue, `{"SecretId":"a","SecretString":"` + strings.Repeat("x", 65537) + `"}`,
			"Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536"},
		{"blob", smapi.OpPutSecretValue, `{"SecretId":"a","SecretBinary":""}`,
			"Value at 'secretBinary' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"arca", arcaapi.OpAdvanceClock, `{"Duration":"` + strings.Repeat("1", 33) + `"}`,
			"Value '" + strings.Repeat("1", 33) + "' at 'duration' failed to satisfy constraint: Member must have length less than or equal to 32"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.DecodeInput(tt.op, []byte(tt.body))
			if tt.want == "" {
				if err != nil {
					t.Errorf("DecodeInput() error: %v", err)
				}
				return
			}
			noun := "1 validation error detected: "
			if n := strings.Count(tt.want, "failed to satisfy"); n > 1 {
				noun = string(rune('0'+n)) + " validation errors detected: "
			}
			if err == nil || err.Code != api.ValidationException || err.Message != noun+tt.want {
				t.Errorf("DecodeInput() error =\n%v\nwant\n%s", err, noun+tt.want)
			}
		})
	}
}

// TestErrorsStaySmall provokes errors that would be larger than the request.
func TestErrorsStaySmall(t *testing.T) {
	body := `{"SecretId":"` + strings.Repeat("🔑", 100_000) + `","Tags":[` + strings.TrimSuffix(strings.Repeat(`{"Key":""},`, 5000), ",") + `]}`
	_, err := wire.DecodeInput(smapi.OpTagResource, []byte(body))
	if err == nil {
		t.Fatal("accepted")
	}
	if want := "5001 validation errors detected: Value '" + strings.Repeat("🔑", 4096) + "...' at 'secretId'"; !strings.HasPrefix(err.Message, want) {
		t.Errorf("message begins %.60q", err.Message)
	}
	if got := strings.Count(err.Message, "; ") + 1; got != 50 {
		t.Errorf("the message holds %d violations, want 50", got)
	}
}

// TestManyNulls checks that an input with more nulls than are counted is refused.
func TestManyNulls(t *testing.T) {
	body := `{"SecretId":"a","Tags":[` + strings.TrimSuffix(strings.Repeat("null,", 5000), ",") + `]}`
	_, err := wire.DecodeInput(smapi.OpTagResource, []byte(body))
	if err == nil || !strings.HasPrefix(err.Message, "1000 validation errors detected: Value null at 'tags.1.member'") {
		t.Errorf("DecodeInput() error = %.100v", err)
	}
}

func TestValidate(t *testing.T) {
	ok := &smapi.GetSecretValueInput{SecretId: "a"}
	if err := wire.Validate(smapi.OpGetSecretValue, ok); err != nil {
		t.Errorf("Validate() = %v", err)
	}
	bad := &smapi.GetSecretValueInput{VersionStage: ptr("")}
	want := "ValidationException: 2 validation errors detected: " +
		"Value '' at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
		"Value '' at 'versionStage' failed to satisfy constraint: Member must have length greater than or equal to 1"
	if err := wire.Validate(smapi.OpGetSecretValue, bad); err == nil || err.Error() != want {
		t.Errorf("Validate() = %v, want %s", err, want)
	}
}
