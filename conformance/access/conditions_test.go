package access_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"

	"arca/conformance/identity"
)

// attempt is one call and whether a condition lets it pass.
type attempt struct {
	name string
	pass bool
	do   func(as *identity.Caller) error
}

// cases runs calls as a user who may do everything in Secrets Manager, but the action
// under test only under a condition. A call that does not meet it is denied; one that
// does is not, whatever else becomes of it.
func cases(k *identity.Kit, action string, condition identity.Conditions, attempts ...attempt) {
	k.T.Helper()
	user := k.User("user-"+identity.RandomHex(3),
		identity.Policy(
			identity.Statement{Effect: "Allow", NotAction: action, Resource: "*"},
			identity.Statement{Effect: "Allow", Action: action, Resource: "*", Condition: condition}))
	try(k, user.Caller, action, attempts...)
}

func try(k *identity.Kit, as *identity.Caller, action string, attempts ...attempt) {
	k.T.Helper()
	for _, a := range attempts {
		err := a.do(as)
		denied := err != nil && strings.Contains(err.Error(), "AccessDenied")
		if denied == a.pass {
			k.T.Errorf("%s: %v, want it to pass: %v", a.name, err, a.pass)
		}
		if denied && !strings.Contains(err.Error(), "is not authorized to perform: "+action) {
			k.T.Errorf("%s: %v, want a denial of %s", a.name, err, action)
		}
	}
}

// getting is an attempt to read a secret, by whom it may be changed.
func getting(name, id string, pass bool, change ...func(*secretsmanager.GetSecretValueInput)) attempt {
	return attempt{name, pass, func(as *identity.Caller) error {
		in := &secretsmanager.GetSecretValueInput{SecretId: &id}
		for _, c := range change {
			c(in)
		}
		_, err := as.SM.GetSecretValue(context.Background(), in)
		return err
	}}
}

func TestConditionResourceTag(t *testing.T) {
	k := identity.New(t, shared)
	_, red := k.Secret(k.Caller, "red", "v", "colour", "red", "Size", "XL")
	_, blue := k.Secret(k.Caller, "blue", "v", "colour", "blue")
	_, none := k.Secret(k.Caller, "none", "v")
	for _, key := range []string{"secretsmanager:ResourceTag/colour", "aws:ResourceTag/colour", "AWS:resourcetag/colour"} {
		cases(k, actGet, identity.If("StringEquals", key, "red"),
			getting(key+" red", red, true), getting(key+" blue", blue, false), getting(key+" none", none, false))
		cases(k, actGet, identity.If("StringNotEquals", key, "red"),
			getting(key+" not red", red, false), getting(key+" not blue", blue, true), getting(key+" not none", none, true))
		cases(k, actGet, identity.If("StringEqualsIfExists", key, "red"),
			getting(key+" red", red, true), getting(key+" blue", blue, false), getting(key+" none, if it exists", none, true))
		cases(k, actGet, identity.If("Null", key, "true"),
			getting(key+" red, null", red, false), getting(key+" none, null", none, true))
	}
	cases(k, actGet, identity.If("StringLike", "secretsmanager:ResourceTag/colour", []string{"gr*", "bl?e"}),
		getting("like red", red, false), getting("like blue", blue, true))
	// The tag of a secret that is to be made are those of the request.
	cases(k, actCreate, identity.If("StringEquals", "aws:ResourceTag/colour", "red"),
		creating(k, "red", true, tagged("colour", "red")), creating(k, "blue", false, tagged("colour", "blue")), creating(k, "none", false))
	// BatchGetSecretValue has no resource of its own, GetSecretValue inside it has.
	user := k.User("batch", identity.Allow("secretsmanager:BatchGetSecretValue", "*"),
		identity.Allow(actGet, "*", identity.If("StringEquals", "aws:ResourceTag/colour", "red")))
	out, err := user.SM.BatchGetSecretValue(k.Ctx(), &secretsmanager.BatchGetSecretValueInput{SecretIdList: []string{red, blue}})
	if err != nil || len(out.SecretValues) != 1 || len(out.Errors) != 1 {
		t.Errorf("BatchGetSecretValue = %+v, %v", out, err)
	}
}

// creating is an attempt to make a secret.
func creating(k *identity.Kit, name string, pass bool, change ...func(*secretsmanager.CreateSecretInput)) attempt {
	return attempt{"create " + name, pass, func(as *identity.Caller) error {
		in := &secretsmanager.CreateSecretInput{Name: aws.String(k.Prefix + "made/" + name + "-" + identity.RandomHex(4)), SecretString: aws.String("v")}
		for _, c := range change {
			c(in)
		}
		out, err := as.SM.CreateSecret(context.Background(), in)
		if err == nil {
			k.Cleanup(func(ctx ctx) {
				_, _ = k.SM.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: out.ARN, ForceDeleteWithoutRecovery: aws.Bool(true)})
			})
		}
		return err
	}}
}

func tagged(pairs ...string) func(*secretsmanager.CreateSecretInput) {
	return func(in *secretsmanager.CreateSecretInput) { in.Tags = identity.SecretTags(pairs...) }
}

func tagging(name, id string, pass bool, pairs ...string) attempt {
	return attempt{"tag " + name, pass, func(as *identity.Caller) error {
		_, err := as.SM.TagResource(context.Background(), &secretsmanager.TagResourceInput{SecretId: &id, Tags: identity.SecretTags(pairs...)})
		return err
	}}
}

func untagging(name, id string, pass bool, keys ...string) attempt {
	return attempt{"untag " + name, pass, func(as *identity.Caller) error {
		_, err := as.SM.UntagResource(context.Background(), &secretsmanager.UntagResourceInput{SecretId: &id, TagKeys: keys})
		return err
	}}
}

func TestConditionRequestTag(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	team := identity.If("StringEquals", "aws:RequestTag/team", []string{"a", "b"})
	cases(k, actTag, team,
		tagging("a", arn, true, "team", "a"), tagging("c", arn, false, "team", "c"), tagging("other key", arn, false, "x", "a"),
		tagging("a and more", arn, true, "team", "b", "x", "y"))
	cases(k, actCreate, team,
		creating(k, "a", true, tagged("team", "a")), creating(k, "c", false, tagged("team", "c")), creating(k, "untagged", false))
}

func TestConditionTagKeys(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	only := identity.Conditions{"ForAllValues:StringEquals": {"aws:TagKeys": []string{"team", "cost"}}, "Null": {"aws:TagKeys": "false"}}
	cases(k, actTag, only,
		tagging("one", arn, true, "team", "a"), tagging("both", arn, true, "team", "a", "cost", "1"),
		tagging("one more", arn, false, "team", "a", "x", "y"), tagging("other", arn, false, "x", "y"))
	cases(k, actUntag, only, untagging("one", arn, true, "team"), untagging("one more", arn, false, "team", "x"))
	any := identity.If("ForAnyValue:StringEquals", "aws:TagKeys", "team")
	cases(k, actUntag, any, untagging("among others", arn, true, "x", "team"), untagging("none", arn, false, "x"))
	cases(k, actCreate, only, creating(k, "right", true, tagged("team", "a")), creating(k, "wrong", false, tagged("x", "y")), creating(k, "untagged", false))
	cases(k, actCreate, identity.If("ForAllValues:StringEquals", "aws:TagKeys", "team"), creating(k, "untagged passes all", true), creating(k, "wrong", false, tagged("x", "y")))
}

func TestConditionVersionStage(t *testing.T) {
	k := identity.New(t, shared)
	name, arn := k.Secret(k.Caller, "s", "v")
	k.Must(k.SM.PutSecretValue(k.Ctx(), &secretsmanager.PutSecretValueInput{SecretId: &name, SecretString: aws.String("w"), VersionStages: []string{"TEST"}}))
	current, err := k.SM.GetSecretValue(k.Ctx(), &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	stage := func(s string) func(*secretsmanager.GetSecretValueInput) {
		return func(in *secretsmanager.GetSecretValueInput) { in.VersionStage = &s }
	}
	version := func(in *secretsmanager.GetSecretValueInput) { in.VersionId = current.VersionId }
	cases(k, actGet, identity.If("ForAnyValue:StringEquals", "secretsmanager:VersionStage", "AWSCURRENT"),
		getting("current", arn, true, stage("AWSCURRENT")), getting("test", arn, false, stage("TEST")))
	cases(k, actGet, identity.If("StringEquals", "secretsmanager:VersionId", aws.ToString(current.VersionId)),
		getting("version", arn, true, version), getting("no version", arn, false))

	// A label in the request decides before any version is looked at.
	out, err := k.SM.ListSecretVersionIds(k.Ctx(), &secretsmanager.ListSecretVersionIdsInput{SecretId: &name})
	if err != nil {
		t.Fatal(err)
	}
	move := func(stage string) func(*identity.Caller) error {
		return func(as *identity.Caller) error {
			for _, v := range out.Versions {
				if v.VersionStages[0] == "TEST" {
					_, err := as.SM.UpdateSecretVersionStage(context.Background(), &secretsmanager.UpdateSecretVersionStageInput{
						SecretId: &name, VersionStage: &stage, MoveToVersionId: v.VersionId,
					})
					return err
				}
			}
			return nil
		}
	}
	const update = "secretsmanager:UpdateSecretVersionStage"
	cases(k, update, identity.If("ForAnyValue:StringEquals", "secretsmanager:VersionStage", "MINE"),
		attempt{"own label", true, move("MINE")}, attempt{"other label", false, move("OTHER")})
}

func TestConditionSecretID(t *testing.T) {
	k := identity.New(t, shared)
	name, arn := k.Secret(k.Caller, "s", "v")
	cases(k, actGet, identity.If("StringEquals", "secretsmanager:SecretId", name), getting("by name", name, true), getting("by ARN", arn, false))
	cases(k, actGet, identity.If("ArnEquals", "secretsmanager:SecretId", arn), getting("by name", name, false), getting("by ARN", arn, true))
	cases(k, actGet, identity.If("StringLike", "secretsmanager:SecretId", "*"+name+"*"), getting("by name", name, true), getting("by ARN", arn, true))
}

func TestConditionName(t *testing.T) {
	k := identity.New(t, shared)
	described := func(text string) func(*secretsmanager.CreateSecretInput) {
		return func(in *secretsmanager.CreateSecretInput) { in.Description = &text }
	}
	cases(k, actCreate, identity.If("StringLike", "secretsmanager:Name", k.Prefix+"made/good*"), creating(k, "good", true), creating(k, "bad", false))
	cases(k, actCreate, identity.If("StringLike", "secretsmanager:Description", "owner: ?*"),
		creating(k, "described", true, described("owner: me")), creating(k, "otherwise", false, described("mine")), creating(k, "undescribed", false))
	_, arn := k.Secret(k.Caller, "s", "v")
	update := func(name string, pass bool, in secretsmanager.UpdateSecretInput) attempt {
		return attempt{name, pass, func(as *identity.Caller) error {
			in.SecretId = &arn
			_, err := as.SM.UpdateSecret(context.Background(), &in)
			return err
		}}
	}
	const act = "secretsmanager:UpdateSecret"
	cases(k, act, identity.If("StringLike", "secretsmanager:Description", "owner: ?*"),
		update("described", true, secretsmanager.UpdateSecretInput{Description: aws.String("owner: me")}),
		update("described otherwise", false, secretsmanager.UpdateSecretInput{Description: aws.String("mine")}))
	cases(k, act, identity.If("Null", "secretsmanager:KmsKeyId", "true"),
		update("no key", true, secretsmanager.UpdateSecretInput{Description: aws.String("d")}),
		update("a key", false, secretsmanager.UpdateSecretInput{KmsKeyId: aws.String("alias/mine")}))
}

func TestConditionDelete(t *testing.T) {
	k := identity.New(t, shared)
	deleting := func(name string, pass bool, in secretsmanager.DeleteSecretInput) attempt {
		return attempt{name, pass, func(as *identity.Caller) error {
			in.SecretId = aws.String(k.Prefix + identity.RandomHex(4))
			k.Must(k.SM.CreateSecret(k.Ctx(), &secretsmanager.CreateSecretInput{Name: in.SecretId}))
			k.Cleanup(func(ctx ctx) {
				_, _ = k.SM.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: in.SecretId, ForceDeleteWithoutRecovery: aws.Bool(true)})
			})
			_, err := as.SM.DeleteSecret(context.Background(), &in)
			return err
		}}
	}
	cases(k, actDelete, identity.If("NumericGreaterThanEquals", "secretsmanager:RecoveryWindowInDays", "14"),
		deleting("14 days", true, secretsmanager.DeleteSecretInput{RecoveryWindowInDays: aws.Int64(14)}),
		deleting("13 days", false, secretsmanager.DeleteSecretInput{RecoveryWindowInDays: aws.Int64(13)}),
		deleting("no days said", false, secretsmanager.DeleteSecretInput{}))
	cases(k, actDelete, identity.If("BoolIfExists", "secretsmanager:ForceDeleteWithoutRecovery", "false"),
		deleting("recoverable", true, secretsmanager.DeleteSecretInput{}),
		deleting("said to be recoverable", true, secretsmanager.DeleteSecretInput{ForceDeleteWithoutRecovery: aws.Bool(false)}),
		deleting("for good", false, secretsmanager.DeleteSecretInput{ForceDeleteWithoutRecovery: aws.Bool(true)}))
}

func TestConditionBlockPublicPolicy(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	text := identity.Share(actGet, k.Root())
	put := func(name string, pass bool, block *bool) attempt {
		return attempt{name, pass, func(as *identity.Caller) error {
			_, err := as.SM.PutResourcePolicy(context.Background(), &secretsmanager.PutResourcePolicyInput{SecretId: &arn, ResourcePolicy: &text, BlockPublicPolicy: block})
			return err
		}}
	}
	cases(k, actPolicy, identity.If("Bool", "secretsmanager:BlockPublicPolicy", "true"),
		put("blocked", true, aws.Bool(true)), put("not blocked", false, aws.Bool(false)), put("not said", false, nil))
}

// Where a call comes from, when and how.
func TestConditionOrigin(t *testing.T) {
	k := identity.New(t, shared)
	k.Ours("address, time and transport of the caller")
	_, arn := k.Secret(k.Caller, "s", "v")
	tomorrow, yesterday := time.Now().Add(24*time.Hour).UTC().Format(time.RFC3339), time.Now().Add(-24*time.Hour).UTC().Format(time.RFC3339)
	agent := func(as *identity.Caller) error {
		_, err := as.SM.GetSecretValue(context.Background(), &secretsmanager.GetSecretValueInput{SecretId: &arn}, func(o *secretsmanager.Options) {
			o.APIOptions = append(o.APIOptions, middleware.AddUserAgentKeyValue("app", "conformance-1"))
		})
		return err
	}
	for _, tc := range []struct {
		operator, key string
		value         any
		pass          bool
	}{
		{"IpAddress", "aws:SourceIp", "127.0.0.0/8", true},
		{"IpAddress", "aws:SourceIp", []string{"203.0.113.0/24", "127.0.0.1"}, true},
		{"IpAddress", "aws:SourceIp", "203.0.113.0/24", false},
		{"NotIpAddress", "aws:SourceIp", "127.0.0.0/8", false},
		{"NotIpAddress", "aws:SourceIp", "203.0.113.0/24", true},
		{"DateLessThan", "aws:CurrentTime", tomorrow, true},
		{"DateLessThan", "aws:CurrentTime", yesterday, false},
		{"DateGreaterThan", "aws:CurrentTime", yesterday, true},
		{"NumericGreaterThan", "aws:EpochTime", "1000000000", true},
		{"DateGreaterThan", "aws:EpochTime", tomorrow, false},
		{"Bool", "aws:SecureTransport", "false", true},
		{"Bool", "aws:SecureTransport", "true", false},
		{"StringLike", "aws:UserAgent", "*app/conformance-1*", true},
		{"StringLike", "aws:UserAgent", "curl/*", false},
		{"StringEquals", "aws:RequestedRegion", "us-east-1", true},
		{"StringNotEquals", "aws:RequestedRegion", "us-east-1", false},
		{"Bool", "aws:MultiFactorAuthPresent", "true", false},
		{"Bool", "aws:MultiFactorAuthPresent", "false", false}, // long-lived keys do not have the key
		{"BoolIfExists", "aws:MultiFactorAuthPresent", "true", true},
		{"Null", "aws:MultiFactorAuthPresent", "true", true},
		{"Null", "aws:TokenIssueTime", "true", true},
		{"StringEquals", "aws:ViaAWSService", "false", true},
		{"Null", "aws:SourceVpc", "true", true},
		{"StringEquals", "aws:SourceVpc", "vpc-1", false},
		{"StringEquals", "secretsmanager:resource/Type", "x", false},
	} {
		t.Run(tc.operator+" "+tc.key, func(t *testing.T) {
			k := *k
			k.T = t
			cases(&k, actGet, identity.If(tc.operator, tc.key, tc.value), attempt{"read", tc.pass, agent})
		})
	}
	// The region of a call is the one it is signed for.
	user := k.User("region", identity.Allow(actAll, "*", identity.If("StringEquals", "aws:RequestedRegion", "eu-central-1")))
	elsewhere := user.Config.Copy()
	elsewhere.Region = "eu-central-1"
	k.Secret(identity.NewCaller(user.ARN, elsewhere), "there", "v")
	cannotRead(k, user.Caller, arn, identity.NoIdentity)
}

// Who calls.
func TestConditionPrincipal(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v")
	ann, bob := k.User("ann"), k.User("bob")
	assumer := k.User("assumer", identity.Allow("sts:AssumeRole", "*"))
	role := k.Role("role", identity.Trust(assumer.ARN))
	session := k.Assume(assumer.Caller, role, "session")
	// if puts a condition on an open resource policy and tries it out.
	when := func(c identity.Conditions, can []*identity.Caller, cannot []*identity.Caller) {
		t.Helper()
		k.Must(nil, putPolicy(k.Ctx(), k.Caller, arn, identity.Policy(identity.Statement{Effect: "Allow", Principal: "*", Action: actGet, Resource: "*", Condition: c})))
		for _, who := range can {
			reads(k, who, arn, "v")
		}
		for _, who := range cannot {
			cannotRead(k, who, arn, identity.NoIdentity)
		}
	}
	callers := func(list ...*identity.Caller) []*identity.Caller { return list }
	when(identity.If("ArnEquals", "aws:PrincipalArn", ann.ARN), callers(ann.Caller), callers(bob.Caller, session))
	when(identity.If("ArnLike", "aws:PrincipalArn", "arn:aws:iam::*:user/"+k.Prefix+"*"), callers(ann.Caller, bob.Caller), callers(session))
	when(identity.If("ArnEquals", "aws:PrincipalArn", role.ARN), callers(session), callers(ann.Caller))
	when(identity.If("ArnEquals", "aws:PrincipalArn", session.ARN), nil, callers(session)) // it is the role's
	when(identity.If("StringEquals", "aws:PrincipalAccount", k.ID), callers(ann.Caller, session), nil)
	when(identity.If("StringEquals", "aws:PrincipalType", "User"), callers(ann.Caller), callers(session))
	when(identity.If("StringEquals", "aws:PrincipalType", "AssumedRole"), callers(session), callers(ann.Caller))
	when(identity.If("StringEquals", "aws:username", ann.Name), callers(ann.Caller), callers(bob.Caller, session))
	when(identity.If("StringEquals", "aws:userid", ann.ID), callers(ann.Caller), callers(bob.Caller, session))
	when(identity.If("StringEquals", "aws:userid", role.ID+":session"), callers(session), callers(ann.Caller))
	when(identity.If("StringEquals", "aws:userid", []string{"${aws:userid}"}), callers(ann.Caller, bob.Caller, session), nil)
	when(identity.If("Bool", "aws:PrincipalIsAWSService", "false"), callers(ann.Caller, session), nil)
	if !shared.AWS {
		when(identity.If("Null", "aws:PrincipalOrgID", "false"), callers(ann.Caller, session), nil)
		when(identity.If("StringEquals", "aws:PrincipalOrgID", "o-0000000000"), nil, callers(ann.Caller, session))
	}
}

func TestConditionPrincipalTag(t *testing.T) {
	k := identity.New(t, shared)
	_, red := k.Secret(k.Caller, "red", "v", "team", "red")
	_, blue := k.Secret(k.Caller, "blue", "v", "team", "blue")
	same := identity.Allow(actGet, "*", identity.If("StringEquals", "aws:ResourceTag/team", "${aws:PrincipalTag/team}"))
	ann, bob := k.User("ann", same), k.User("bob", same)
	tag(k, ann, "team", "red")
	tag(k, bob, "Team", "blue") // keys are compared without case
	reads(k, ann.Caller, red, "v")
	cannotRead(k, ann.Caller, blue, identity.NoIdentity)
	reads(k, bob.Caller, blue, "v")
	cannotRead(k, bob.Caller, red, identity.NoIdentity)
	// A change counts on the next call.
	tag(k, ann, "team", "blue")
	reads(k, ann.Caller, blue, "v")
	cannotRead(k, ann.Caller, red, identity.NoIdentity)

	// Session tags stand before those of the role.
	role := k.Role("role", identity.Trust(k.Root()), same)
	assumer := k.User("assumer", identity.Allow([]string{"sts:AssumeRole", "sts:TagSession"}, "*"))
	k.Must(k.IAM.TagRole(k.Ctx(), tagRole(role.Name, "team", "red")))
	k.Settle()
	plain := k.Assume(assumer.Caller, role, "plain")
	reads(k, plain, red, "v")
	tagged := k.Assume(assumer.Caller, role, "tagged", func(in *sts.AssumeRoleInput) {
		in.Tags = []ststypes.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}
	})
	reads(k, tagged, blue, "v")
	cannotRead(k, tagged, red, identity.NoIdentity)
}

// A tag change may not take away the caller's own access.
func TestTagChangeShutsOut(t *testing.T) {
	k := identity.New(t, shared)
	_, arn := k.Secret(k.Caller, "s", "v", "team", "red", "x", "y")
	user := k.User("user", identity.Allow(actAll, "*", identity.If("StringEquals", "secretsmanager:ResourceTag/team", "red")))
	reads(k, user.Caller, arn, "v")
	tagAs := func(as *identity.User, key, value string) error {
		_, err := as.SM.TagResource(k.Ctx(), &secretsmanager.TagResourceInput{SecretId: &arn, Tags: identity.SecretTags(key, value)})
		return err
	}
	k.Must(nil, tagAs(user, "y", "z"))
	identity.WantError(t, tagAs(user, "team", "blue"), "AccessDeniedException", http.StatusBadRequest, "")
	_, err := user.SM.UntagResource(k.Ctx(), &secretsmanager.UntagResourceInput{SecretId: &arn, TagKeys: []string{"team"}})
	identity.WantError(t, err, "AccessDeniedException", http.StatusBadRequest, "")
	out, err := k.SM.DescribeSecret(k.Ctx(), &secretsmanager.DescribeSecretInput{SecretId: &arn})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"team": "red", "x": "y", "y": "z"}
	if len(out.Tags) != len(want) {
		t.Errorf("tags = %v, want %v", out.Tags, want)
	}
	for _, tag := range out.Tags {
		if want[aws.ToString(tag.Key)] != aws.ToString(tag.Value) {
			t.Errorf("tags = %v, want %v", out.Tags, want)
		}
	}
	k.Must(user.SM.UntagResource(k.Ctx(), &secretsmanager.UntagResourceInput{SecretId: &arn, TagKeys: []string{"x"}}))

	// Who keeps his access otherwise may do it to others.
	admin := k.User("admin", identity.Allow(actAll, "*"))
	k.Must(nil, tagAs(admin, "team", "blue"))
	cannotRead(k, user.Caller, arn, identity.NoIdentity)
	reads(k, admin.Caller, arn, "v")
}

// Listing shows all, as at AWS, whatever their tags are.
func TestListIgnoresTags(t *testing.T) {
	k := identity.New(t, shared)
	k.Secret(k.Caller, "red", "v", "team", "red")
	k.Secret(k.Caller, "blue", "v", "team", "blue")
	user := k.User("user", identity.Allow("secretsmanager:ListSecrets", "*"))
	out, err := user.SM.ListSecrets(k.Ctx(), &secretsmanager.ListSecretsInput{Filters: []smtypes.Filter{{Key: smtypes.FilterNameStringTypeName, Values: []string{k.Prefix}}}})
	if err != nil || len(out.SecretList) != 2 {
		t.Errorf("ListSecrets = %+v, %v", out, err)
	}
	conditional := k.User("conditional", identity.Allow("secretsmanager:ListSecrets", "*", identity.If("StringEquals", "aws:ResourceTag/team", "red")))
	_, err = conditional.SM.ListSecrets(k.Ctx(), nil)
	identity.WantDenied(t, err, conditional.ARN, "secretsmanager:ListSecrets", "", identity.NoIdentity)
}
