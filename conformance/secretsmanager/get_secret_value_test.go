package secretsmanager_test

import (
	"regexp"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

func TestGetSecretValueMembers(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "v")
	out := ask(t, "GetSecretValue", in{"SecretId": name})
	wantMembers(t, out, "ARN", "Name", "VersionId", "SecretString", "VersionStages", "CreatedDate")
	if out["ARN"] != arn || out["Name"] != name || out["SecretString"] != "v" {
		t.Errorf("answer = %v", out)
	}
	binary := k.prefix + "b"
	k.create(&secretsmanager.CreateSecretInput{Name: &binary, SecretBinary: []byte("footest")})
	out = ask(t, "GetSecretValue", in{"SecretId": binary})
	wantMembers(t, out, "ARN", "Name", "VersionId", "SecretBinary", "VersionStages", "CreatedDate")
	if out["SecretBinary"] != "Zm9vdGVzdA==" {
		t.Errorf("SecretBinary = %v on the wire, want base64 of footest", out["SecretBinary"])
	}
}

// Times are numbers with at most three decimals.
func TestGetSecretValueTime(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	a := askAnswer(t, "GetSecretValue", in{"SecretId": name})
	if form := regexp.MustCompile(`"CreatedDate":1[0-9]{9}(\.[0-9]{1,3})?[,}]`); !form.MatchString(a.body) {
		t.Errorf("CreatedDate in %s, want %s", a.body, form)
	}
	out, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	if age := time.Since(*out.CreatedDate); age < -time.Minute || age > 5*time.Minute {
		t.Errorf("the new version is %v old", age)
	}
}

func TestGetSecretValueVersions(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "one")
	two := k.put(name, "two")
	three := k.put(name, "three", "mine")
	k.put(name, "four") // one is deprecated now
	first := k.versions(name, true)[0]
	for _, tc := range []struct {
		name           string
		version, stage *string
		want           string
	}{
		{"neither", nil, nil, "four"},
		{"current", nil, aws.String("AWSCURRENT"), "four"},
		{"previous", nil, aws.String("AWSPREVIOUS"), "two"},
		{"custom label", nil, aws.String("mine"), "three"},
		{"version", &two, nil, "two"},
		{"both agree", &three, aws.String("mine"), "three"},
		{"deprecated version", first.VersionId, nil, "one"},
	} {
		out, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name, VersionId: tc.version, VersionStage: tc.stage})
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if got := aws.ToString(out.SecretString); got != tc.want {
			t.Errorf("%s: value = %q, want %q", tc.name, got, tc.want)
		}
	}
	deprecated := ask(t, "GetSecretValue", in{"SecretId": name, "VersionId": *first.VersionId})
	if stages, ok := deprecated["VersionStages"]; ok && len(stages.([]any)) > 0 {
		t.Errorf("a deprecated version has labels %v", stages)
	}
}

func TestGetSecretValueErrors(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "one")
	two := k.put(name, "two", "mine")
	empty, gone := k.empty("empty"), k.scheduled("gone")
	get := func(id string, version, stage *string) error {
		_, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &id, VersionId: version, VersionStage: stage})
		return err
	}
	wantError[*types.ResourceNotFoundException](t, get(k.prefix+"none", nil, nil), textNoSecret)
	wantError[*types.ResourceNotFoundException](t, get(empty, nil, nil), "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")
	wantError[*types.ResourceNotFoundException](t, get(name, nil, aws.String("NOPE")), "Secrets Manager can't find the specified secret value for staging label: NOPE")
	wantError[*types.ResourceNotFoundException](t, get(name, nil, aws.String("AWSPREVIOUS")), "Secrets Manager can't find the specified secret value for staging label: AWSPREVIOUS")
	unknown := token()
	wantError[*types.ResourceNotFoundException](t, get(name, &unknown, nil), "Secrets Manager can't find the specified secret value for VersionId: "+unknown)
	wantError[*types.InvalidRequestException](t, get(name, &two, aws.String("AWSCURRENT")), "You provided a VersionStage that is not associated to the provided VersionId.")
	wantError[*types.InvalidRequestException](t, get(gone, nil, nil), textScheduled)
	wantCode(t, get("Inv Name", nil, nil), "ValidationException", textBadName)
	wantInvalid(t, get("", nil, nil), "Value '' at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1")
	wantInvalid(t, get(name, aws.String("short"), nil), "Value 'short' at 'versionId' failed to satisfy constraint: Member must have length greater than or equal to 32")
}

// A secret is found by name, by ARN and by ARN without suffix; but an ARN without
// suffix whose name itself ends like one is read as a full ARN.
func TestGetSecretValueIdentifiers(t *testing.T) {
	k := newKit(t)
	for _, tc := range []struct {
		name  string
		found bool // by the ARN without suffix
	}{
		{"plain", true},
		{"Name-a1b2", true},
		{"Name-a1b2c3-", true},
		{"Name-a1b2c3", false},
	} {
		name, arn := k.secret(tc.name, tc.name)
		for _, id := range []string{name, arn} {
			if got := k.value(id, ""); got != tc.name {
				t.Errorf("value of %s = %q, want %q", id, got, tc.name)
			}
		}
		partial := arn[:len(arn)-len("-")-len(suffixOf(t, arn, name))]
		_, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &partial})
		if tc.found {
			k.must(nil, err)
			continue
		}
		wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
	}
	name, arn := k.secret("s", "v")
	for _, id := range []string{
		arn[:len(arn)-6] + "zzzzzz", // another suffix
		arn + "x",
		name + "x",
		name[:len(name)-1],
	} {
		_, err := k.GetSecretValue(k.ctx(), &secretsmanager.GetSecretValueInput{SecretId: &id})
		wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
	}
}

// The first read of a day shows in DescribeSecret as that day.
func TestGetSecretValueLastAccess(t *testing.T) {
	k := newKit(t)
	name, _ := k.secret("s", "v")
	before, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	if before.LastAccessedDate != nil {
		t.Errorf("a secret nobody read was last accessed %v", before.LastAccessedDate)
	}
	ours(t, "it shows hours later there")
	today := time.Now().UTC().Truncate(24 * time.Hour)
	k.value(name, "")
	after, err := k.DescribeSecret(k.ctx(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	if d := after.LastAccessedDate; d == nil || d.Before(today) || !d.Equal(d.UTC().Truncate(24*time.Hour)) {
		t.Errorf("LastAccessedDate = %v, want the day of today, %v", d, today)
	}
	if d := k.versions(name, false)[0].LastAccessedDate; d == nil || d.Before(today) {
		t.Errorf("LastAccessedDate of the version = %v, want %v", d, today)
	}
}
