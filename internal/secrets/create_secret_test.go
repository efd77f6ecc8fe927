package secrets_test

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/secrets"
)

func TestCreateSecret(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	out := b.create(t, "app/db")
	if got := *out.ARN; !regexp.MustCompile("^" + arnOfBed + "app/db-[A-Za-z0-9]{6}$").MatchString(got) {
		t.Errorf("ARN = %s", got)
	}
	if *out.Name != "app/db" || *out.VersionId != *token(1) || out.ReplicationStatus != nil {
		t.Errorf("CreateSecret = %+v, want name and version", out)
	}
	got := must[smapi.GetSecretValueOutput](t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "app/db"})
	if string(*got.SecretString) != "value of app/db" || got.SecretBinary != nil || !cmp.Equal(got.VersionStages, []string{"AWSCURRENT"}) ||
		!got.CreatedDate.Equal(b.now) || *got.ARN != *out.ARN || *got.VersionId != *token(1) {
		t.Errorf("GetSecretValue = %+v, want what was created", got)
	}
}

func TestCreateSecretWithoutValue(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	out := b.createEmpty(t, "empty")
	if out.VersionId != nil {
		t.Errorf("VersionId = %s, want none", *out.VersionId)
	}
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: "empty"},
		"ResourceNotFoundException: Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")
}

func TestCreateSecretErrors(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "taken")
	b.create(t, "scheduled")
	b.schedule(t, "scheduled")
	const tooLong = "ValidationException: 1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536"
	tag := func(keys ...string) (tags []smapi.Tag) {
		for _, k := range keys {
			tags = append(tags, smapi.Tag{Key: new(k), Value: new("v")})
		}
		return tags
	}
	for _, tc := range []struct {
		name string
		in   smapi.CreateSecretInput
		want string
	}{
		{"bad name", smapi.CreateSecretInput{Name: "Inv Name"}, badName},
		{"ARN for a name", smapi.CreateSecretInput{Name: "arn:aws:x"}, badName},
		{"no token", smapi.CreateSecretInput{Name: "n", SecretString: sensitive("x")},
			"InvalidRequestException: You must provide a ClientRequestToken value. We recommend a UUID-type value."},
		{"name taken", smapi.CreateSecretInput{Name: "taken", ClientRequestToken: token(2), SecretString: sensitive("value of taken")},
			"ResourceExistsException: The operation failed because the secret taken already exists."},
		{"name taken, no value", smapi.CreateSecretInput{Name: "taken", ClientRequestToken: token(2)},
			"ResourceExistsException: The operation failed because the secret taken already exists."},
		{"name scheduled", smapi.CreateSecretInput{Name: "scheduled", ClientRequestToken: token(2), SecretString: sensitive("x")},
			"InvalidRequestException: You can't create this secret because a secret with this name is already scheduled for deletion."},
		{"name scheduled, same call", smapi.CreateSecretInput{Name: "scheduled", ClientRequestToken: token(1), SecretString: sensitive("value of scheduled")},
			"InvalidRequestException: You can't create this secret because a secret with this name is already scheduled for deletion."},
		// Texts from here on are ours: AWS's are unknown.
		{"both values", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), SecretString: sensitive("x"), SecretBinary: api.SensitiveBytes("y")},
			"InvalidParameterException: You can't specify both SecretString and SecretBinary."},
		{"string too long in bytes", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), SecretString: sensitive(strings.Repeat("é", 32769))}, tooLong},
		{"binary too long", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), SecretBinary: make(api.SensitiveBytes, 65537)},
			strings.Replace(tooLong, "secretString", "secretBinary", 1)},
		{"type", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), Type: new("DatadogApiKey")},
			"InvalidRequestException: Type is not supported by this server."},
		{"replicas", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), AddReplicaRegions: []smapi.ReplicaRegionType{{Region: new("us-east-1")}}},
			"InvalidRequestException: AddReplicaRegions is not supported by this server."},
		{"unknown key", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), KmsKeyId: new("mine")},
			"InvalidParameterException: The operation failed because of an invalid KMS key: Invalid keyId 'mine'"},
		{"duplicate tags", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), Tags: tag("a", "a")}, "InvalidParameterException: Duplicate tag keys"},
		{"reserved tag", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), Tags: tag("Aws:x")}, "InvalidParameterException: Tags beginning with aws: are reserved"},
		{"tag without key", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), Tags: []smapi.Tag{{Value: new("v")}}}, "InvalidParameterException: Every tag must have a Key."},
		{"51 tags", smapi.CreateSecretInput{Name: "n", ClientRequestToken: token(1), Tags: tag(strings.Split(strings.Repeat("k", 51), "")...)}, "InvalidParameterException: Duplicate tag keys"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name == "51 tags" {
				for i := range tc.in.Tags {
					tc.in.Tags[i].Key = new("k" + itoa(i))
				}
				tc.want = "InvalidParameterException: Too many tags"
			}
			refused(t, b, smapi.OpCreateSecret, &tc.in, tc.want)
			if tc.in.Name == "n" {
				refused(t, b, smapi.OpDescribeSecret, &smapi.DescribeSecretInput{SecretId: "n"}, noSecret)
			}
		})
	}
}

func TestCreateSecretAgain(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	first := b.create(t, "s")
	if diff := cmp.Diff(first, b.create(t, "s")); diff != "" {
		t.Errorf("second call (-first +second):\n%s", diff)
	}
	inUse := "ResourceExistsException: You can't use ClientRequestToken " + *token(1) + " because that value is already in use for a version of secret " + *first.ARN + "."
	for name, in := range map[string]*smapi.CreateSecretInput{
		"other value":          {Name: "s", ClientRequestToken: token(1), SecretString: sensitive("other")},
		"same bytes as binary": {Name: "s", ClientRequestToken: token(1), SecretBinary: api.SensitiveBytes("value of s")},
		"no value":             {Name: "s", ClientRequestToken: token(1)},
	} {
		t.Run(name, func(t *testing.T) { refused(t, b, smapi.OpCreateSecret, in, inUse) })
	}
	// The token of a version that another operation made counts as well.
	b.put(t, "s", 2)
	again := must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(2), SecretString: sensitive("value 2")})
	if *again.ARN != *first.ARN || *again.VersionId != *token(2) {
		t.Errorf("CreateSecret with the token of a later version = %+v", again)
	}
	// Without a value there is no version to carry the token; the secret does.
	empty := b.createEmpty(t, "empty")
	if diff := cmp.Diff(empty, b.createEmpty(t, "empty")); diff != "" {
		t.Errorf("second call without a value (-first +second):\n%s", diff)
	}
	if got := b.labels(t, "s"); got != "1:AWSPREVIOUS 2:AWSCURRENT" {
		t.Errorf("labels = %s, want those of two versions", got)
	}
}

// A token belongs to one secret; another secret, also a later one of that name, may
// use it again.
func TestTokenOfAnotherSecret(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	first := b.create(t, "a")
	b.create(t, "b")
	must[smapi.DeleteSecretOutput](t, b, smapi.OpDeleteSecret, &smapi.DeleteSecretInput{SecretId: "a", ForceDeleteWithoutRecovery: new(true)})
	second := b.create(t, "a", func(in *smapi.CreateSecretInput) { in.SecretString = sensitive("new") })
	if *first.ARN == *second.ARN {
		t.Errorf("both secrets called a have ARN %s", *first.ARN)
	}
	if got := b.read(t, "a"); got != "new" {
		t.Errorf("value = %q, want that of the new secret", got)
	}
	refused(t, b, smapi.OpGetSecretValue, &smapi.GetSecretValueInput{SecretId: *first.ARN}, noSecret)
}

func TestCreateSecretDefaultKeyNames(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "first") // makes the key
	arn := "arn:aws:kms:" + bedRegion + ":" + bedAccount + ":"
	b.questions()
	for i, id := range []string{"", "alias/aws/secretsmanager", arn + "alias/aws/secretsmanager"} {
		name := "s" + itoa(i)
		b.create(t, name, func(in *smapi.CreateSecretInput) { in.KmsKeyId = new(id) })
		if got := b.describe(t, name).KmsKeyId; got != nil {
			t.Errorf("KmsKeyId after %q = %s, want none", id, *got)
		}
	}
	var keyARN string
	for _, ck := range b.questions() {
		if arn, ok := keysOf(ck)["secretsmanager:KmsKeyArn"]; ok {
			keyARN = arn
		}
	}
	if !strings.HasPrefix(keyARN, arn+"key/") {
		t.Fatalf("secretsmanager:KmsKeyArn = %q, want the default key", keyARN)
	}
	b.create(t, "by-arn", func(in *smapi.CreateSecretInput) { in.KmsKeyId = new(keyARN) })
	b.create(t, "by-id", func(in *smapi.CreateSecretInput) { in.KmsKeyId = new(strings.TrimPrefix(keyARN, arn+"key/")) })
}

func TestCreateSecretQuota(t *testing.T) {
	b := newBedWith(t, secrets.Quotas{Secrets: 2})
	defer b.check(t)
	b.create(t, "a")
	b.create(t, "b")
	in := &smapi.CreateSecretInput{Name: "c", ClientRequestToken: token(1)}
	refused(t, b, smapi.OpCreateSecret, in, "LimitExceededException: You can't have more than 2 secrets in a Region.") // our text
	must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, in, inRegion("eu-west-2"))
	must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, in, fromAccount(otherAccount))
	if diff := cmp.Diff(b.create(t, "a"), b.create(t, "a")); diff != "" {
		t.Errorf("a repeated call at the quota (-first +second):\n%s", diff)
	}
}

func TestCreateSecretAsks(t *testing.T) {
	b := newBed(t)
	in := &smapi.CreateSecretInput{
		Name: "s", ClientRequestToken: token(1), Description: new("d"), KmsKeyId: new("alias/aws/secretsmanager"),
		Tags: []smapi.Tag{{Key: new("team"), Value: new("x")}, {Key: new("stage"), Value: new("y")}},
	}
	must[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret, in)
	asked := b.questions()
	if len(asked) != 2 || asked[0].Action != "secretsmanager:CreateSecret" || asked[1].Action != "secretsmanager:TagResource" {
		t.Fatalf("asked %+v, want CreateSecret and TagResource", asked)
	}
	if asked[0].Shown != "s" || !strings.HasPrefix(asked[0].Resource, arnOfBed+"s-") || asked[1].Shown != "" || asked[1].Resource != asked[0].Resource {
		t.Errorf("resources asked about: %q as %q, %q as %q", asked[0].Resource, asked[0].Shown, asked[1].Resource, asked[1].Shown)
	}
	want := map[string]string{
		"secretsmanager:Name": "s", "secretsmanager:Description": "d", "secretsmanager:KmsKeyId": "alias/aws/secretsmanager",
		"aws:RequestTag/team": "x", "aws:RequestTag/stage": "y", "aws:TagKeys": "team,stage",
		"aws:ResourceTag/team": "x", "aws:ResourceTag/stage": "y",
		"secretsmanager:ResourceTag/team": "x", "secretsmanager:ResourceTag/stage": "y",
	}
	if diff := cmp.Diff(want, keysOf(asked[0])); diff != "" {
		t.Errorf("condition keys of CreateSecret (-want +got):\n%s", diff)
	}
	for _, action := range []string{"CreateSecret", "TagResource"} {
		t.Run("denied "+action, func(t *testing.T) {
			b.denies(t, action)
			// Also for a taken name: nobody learns of it who may not create.
			refused(t, b, smapi.OpCreateSecret, in, denial(action))
			in := *in
			in.Name = "other"
			refused(t, b, smapi.OpCreateSecret, &in, denial(action))
		})
	}
	b.denies(t, "ReplicateSecretToRegions")
	refused(t, b, smapi.OpCreateSecret, &smapi.CreateSecretInput{Name: "r", AddReplicaRegions: []smapi.ReplicaRegionType{{Region: new("us-east-1")}}}, denial("ReplicateSecretToRegions"))
}

// Of calls that create one name at once, one makes the secret and the others find it.
func TestCreateSecretAtOnce(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	const callers = 8
	outs := make([]*smapi.CreateSecretOutput, callers)
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			outs[i], errs[i] = do[smapi.CreateSecretOutput](t, b, smapi.OpCreateSecret,
				&smapi.CreateSecretInput{Name: "s", ClientRequestToken: token(i % 2), SecretString: sensitive("v")})
		})
	}
	wg.Wait()
	made := make(map[string]bool)
	for i := range outs {
		if errs[i] == nil {
			made[*outs[i].ARN+*outs[i].VersionId] = true
		}
	}
	if len(made) != 1 {
		t.Errorf("calls at once made %d secrets, want 1: %v", len(made), errs)
	}
}

func TestDatesOfNewSecret(t *testing.T) {
	b := newBed(t)
	b.now = b.now.Add(713*time.Millisecond + 999*time.Microsecond)
	b.createEmpty(t, "s")
	got := b.describe(t, "s")
	want := b.now.Truncate(time.Millisecond)
	if !got.CreatedDate.Equal(want) || !got.LastChangedDate.Equal(want) {
		t.Errorf("dates = %v, %v, want %v", got.CreatedDate, got.LastChangedDate, want)
	}
}
