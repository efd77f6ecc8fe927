package access_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/access"
	"arca/internal/api/iamapi"
	"arca/internal/call"
	"arca/internal/policy"
)

func (b *bed) simulate(in *iamapi.SimulateCustomPolicyInput) []iamapi.EvaluationResult {
	b.t.Helper()
	out := must[iamapi.SimulateCustomPolicyOutput](b, iamapi.OpSimulateCustomPolicy, in, root)
	if *out.IsTruncated || out.Marker != nil {
		b.t.Errorf("IsTruncated %v, Marker %v", *out.IsTruncated, out.Marker)
	}
	return out.EvaluationResults
}

// line is a result in short: action, resource, decision, statements, what is missing.
func line(r iamapi.EvaluationResult) string {
	s := r.EvalActionName + " " + *r.EvalResourceName + " " + r.EvalDecision
	for _, m := range r.MatchedStatements {
		s += " " + *m.SourcePolicyId
	}
	for _, k := range r.MissingContextValues {
		s += " ?" + k
	}
	if d := r.OrganizationsDecisionDetail; d != nil {
		s += fmt.Sprintf(" organizations=%v", *d.AllowedByOrganizations)
	}
	if d := r.PermissionsBoundaryDecisionDetail; d != nil {
		s += fmt.Sprintf(" boundary=%v", *d.AllowedByPermissionsBoundary)
	}
	for _, k := range []string{"IAM Policy", "Resource Policy"} {
		if v, ok := r.EvalDecisionDetails[k]; ok {
			s += " " + k + "=" + v
		}
	}
	if len(r.ResourceSpecificResults) < 2 {
		return s
	}
	for _, one := range r.ResourceSpecificResults {
		s += " (" + one.EvalResourceName + " " + one.EvalResourceDecision
		for _, m := range one.MatchedStatements {
			s += " " + *m.SourcePolicyId
		}
		for _, k := range one.MissingContextValues {
			s += " ?" + k
		}
		s += ")"
	}
	return s
}

func TestSimulateCustomPolicy(t *testing.T) {
	b := newBed(t)
	const own = "arn:aws:secretsmanager:eu-west-1:111111111111:secret:a-abcdef"
	const other = "arn:aws:secretsmanager:eu-west-1:222222222222:secret:a-abcdef"
	caller := new("arn:aws:iam::111111111111:user/alice")
	twice := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:Get*","Resource":"*"},{"Effect":"Deny","Action":"iam:GetRole","Resource":"*"}]}`
	entry := func(name, kind string, values ...string) iamapi.ContextEntry {
		return iamapi.ContextEntry{ContextKeyName: &name, ContextKeyType: &kind, ContextKeyValues: values}
	}
	for _, tt := range []struct {
		name string
		in   iamapi.SimulateCustomPolicyInput
		want []string
	}{
		{"allowed and not", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{twice}, ActionNames: []string{"iam:GetUser", "iam:GetRole", "iam:ListUsers"},
		}, []string{
			"iam:GetUser * allowed PolicyInputList.1",
			"iam:GetRole * explicitDeny PolicyInputList.1",
			"iam:ListUsers * implicitDeny",
		}},
		{"every pair", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{allow("secretsmanager:Get*", own), allow("secretsmanager:*", "*")},
			ActionNames:     []string{"secretsmanager:GetSecretValue", "kms:Decrypt"}, ResourceArns: []string{own, other},
		}, []string{
			"secretsmanager:GetSecretValue * allowed (" + own + " allowed PolicyInputList.1 PolicyInputList.2) (" + other + " allowed PolicyInputList.2)",
			"kms:Decrypt * implicitDeny (" + own + " implicitDeny) (" + other + " implicitDeny)",
		}},
		{"several resources, the strictest decision", iamapi.SimulateCustomPolicyInput{
			PolicyInputList:                    []string{allow("iam:*", "*", `{"StringEquals":{"aws:username":"x"}}`), allow("kms:*", own), refuse("kms:Encrypt", other)},
			OrderedOrganizationPolicyInputList: []iamapi.OrderedOrganizationPolicyType{{ServiceControlPolicyInputList: []string{allow("*", own)}}},
			ActionNames:                        []string{"kms:Decrypt", "kms:Encrypt", "iam:GetUser"}, ResourceArns: []string{own, other},
		}, []string{
			"kms:Decrypt * implicitDeny ?aws:username organizations=false (" + own + " allowed PolicyInputList.2 ?aws:username) (" + other + " implicitDeny ?aws:username)",
			"kms:Encrypt * explicitDeny ?aws:username organizations=false (" + own + " allowed PolicyInputList.2 ?aws:username) (" + other + " explicitDeny PolicyInputList.3 ?aws:username)",
			"iam:GetUser * implicitDeny ?aws:username organizations=false (" + own + " implicitDeny ?aws:username) (" + other + " implicitDeny ?aws:username)",
		}},
		{"missing key", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{allow("*", "arn:aws:s3:::${aws:username}/*", `{"StringEquals":{"aws:PrincipalTag/Team":"x"},"Null":{"aws:CurrentTime":"false"}}`)},
			ActionNames:     []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::alice/x"},
			ContextEntries: []iamapi.ContextEntry{entry("AWS:PrincipalTag/team", "string", "x")},
		}, []string{"s3:GetObject arn:aws:s3:::alice/x implicitDeny ?aws:username"}},
		{"given keys", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{allow("*", "arn:aws:s3:::${aws:username}/*", `{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}`)},
			ActionNames:     []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::alice/x"},
			ContextEntries: []iamapi.ContextEntry{entry("aws:username", "string", "alice"), entry("aws:TagKeys", "stringList", "a", "b")},
		}, []string{"s3:GetObject arn:aws:s3:::alice/x allowed PolicyInputList.1"}},
		{"boundary", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{allow("*", "*")}, PermissionsBoundaryPolicyInputList: []string{allow("iam:*", "*")},
			ActionNames: []string{"iam:GetUser", "kms:Decrypt"},
		}, []string{
			"iam:GetUser * allowed PolicyInputList.1 PermissionsBoundaryPolicyInputList.1 boundary=true",
			"kms:Decrypt * implicitDeny boundary=false",
		}},
		{"organization", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{allow("*", "*")},
			OrderedOrganizationPolicyInputList: []iamapi.OrderedOrganizationPolicyType{
				{ServiceControlPolicyInputList: []string{allow("iam:*", "*"), allow("kms:*", "*")}},
				{ServiceControlPolicyInputList: []string{allow("*", "*"), refuse("kms:Delete*", "*")}},
			},
			ActionNames: []string{"iam:GetUser", "kms:Decrypt", "s3:GetObject", "kms:DeleteAlias"},
		}, []string{
			"iam:GetUser * allowed PolicyInputList.1 organizations=true",
			"kms:Decrypt * allowed PolicyInputList.1 organizations=true",
			"s3:GetObject * implicitDeny organizations=false",
			"kms:DeleteAlias * explicitDeny OrderedOrganizationPolicyInputList.2.2 organizations=false",
		}},
		{"resource policy", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{allow("iam:*", "*")}, CallerArn: caller, ResourcePolicy: new(to(aws(*caller), all)),
			ActionNames: []string{"secretsmanager:GetSecretValue"}, ResourceArns: []string{own},
		}, []string{"secretsmanager:GetSecretValue " + own + " allowed ResourcePolicy"}},
		{"another account", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{allow("iam:*", "*")}, CallerArn: caller, ResourcePolicy: new(to(aws(*caller), all)),
			ActionNames: []string{"secretsmanager:GetSecretValue"}, ResourceArns: []string{other},
		}, []string{"secretsmanager:GetSecretValue " + other + " implicitDeny IAM Policy=implicitDeny Resource Policy=allowed"}},
		{"owner", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{allow("*", "*")}, CallerArn: caller, ResourceOwner: new("222222222222"),
			ActionNames: []string{"s3:GetObject"}, ResourceArns: []string{"arn:aws:s3:::b/x"},
		}, []string{"s3:GetObject arn:aws:s3:::b/x implicitDeny IAM Policy=allowed Resource Policy=implicitDeny"}},
		{"trust policy", iamapi.SimulateCustomPolicyInput{
			PolicyInputList: []string{allow("*", "*")}, CallerArn: caller,
			ResourcePolicy: new(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"sts:AssumeRole"}}`),
			ActionNames:    []string{"sts:AssumeRole", "iam:GetRole"}, ResourceArns: []string{"arn:aws:iam::111111111111:role/r"},
		}, []string{
			"sts:AssumeRole arn:aws:iam::111111111111:role/r allowed ResourcePolicy PolicyInputList.1",
			"iam:GetRole arn:aws:iam::111111111111:role/r allowed PolicyInputList.1",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := *b
			b.t = t
			var got []string
			for _, r := range b.simulate(&tt.in) {
				got = append(got, line(r))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The results of the resources that a request names are there for each, also for one.
func TestSimulateOneResource(t *testing.T) {
	b := newBed(t)
	const user = "arn:aws:iam::111111111111:user/x"
	in := &iamapi.SimulateCustomPolicyInput{PolicyInputList: []string{allow("iam:*", "*")}, ActionNames: []string{"iam:GetUser"}}
	if r := b.simulate(in)[0]; r.ResourceSpecificResults != nil || *r.EvalResourceName != "*" {
		t.Errorf("without resources: %+v", r)
	}
	in.ResourceArns = []string{user}
	r := b.simulate(in)[0]
	want := []iamapi.ResourceSpecificResult{{
		EvalResourceName: user, EvalResourceDecision: "allowed",
		MatchedStatements: r.MatchedStatements, MissingContextValues: []string{},
	}}
	if diff := cmp.Diff(want, r.ResourceSpecificResults); diff != "" || len(r.MatchedStatements) != 1 || *r.EvalResourceName != user {
		t.Errorf("of %+v (-want +got):\n%s", r, diff)
	}
}

// A matched statement is told by the position of its first brace and the one after its
// last.
func TestSimulatePositions(t *testing.T) {
	b := newBed(t)
	text := `{"Version": "2012-10-17", "Statement": [
  {"Sid": "a", "Effect": "Allow", "Action": "iam:Get*",
   "Resource": "*"}, {"Effect": "Deny", "Action": "iam:GetRole", "Resource": "*"}]}`
	want := []string{"2:3-3:20", "3:22-3:82"}
	for i, r := range b.simulate(&iamapi.SimulateCustomPolicyInput{PolicyInputList: []string{text}, ActionNames: []string{"iam:GetUser", "iam:GetRole"}}) {
		m := r.MatchedStatements[0]
		got := fmt.Sprintf("%d:%d-%d:%d", *m.StartPosition.Line, *m.StartPosition.Column, *m.EndPosition.Line, *m.EndPosition.Column)
		if got != want[i] || *m.SourcePolicyType != "IAM Policy" {
			t.Errorf("%s: %s of %s, want %s", r.EvalActionName, got, *m.SourcePolicyType, want[i])
		}
	}
}

func TestSimulateRefuses(t *testing.T) {
	b := newBed(t)
	actions := []string{"iam:GetUser"}
	policies := []string{allow("*", "*")}
	many := make([]string, 101)
	for i := range many {
		many[i] = "iam:GetUser"
	}
	for name, tt := range map[string]struct {
		in   iamapi.SimulateCustomPolicyInput
		want string
	}{
		"policy":        {iamapi.SimulateCustomPolicyInput{PolicyInputList: []string{"{"}, ActionNames: actions}, "InvalidInput: Invalid policy PolicyInputList.1: line 1"},
		"two policies":  {iamapi.SimulateCustomPolicyInput{PolicyInputList: []string{allow("*", "*"), to(`"*"`, "*")}, ActionNames: actions}, "InvalidInput: Invalid policy PolicyInputList.2: "},
		"boundaries":    {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, PermissionsBoundaryPolicyInputList: []string{allow("*", "*"), allow("*", "*")}, ActionNames: actions}, "InvalidInput: You can specify only one permissions boundary policy."},
		"guardrail":     {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, OrderedOrganizationPolicyInputList: []iamapi.OrderedOrganizationPolicyType{{ServiceControlPolicyInputList: []string{"x"}}}, ActionNames: actions}, "InvalidInput: Invalid policy OrderedOrganizationPolicyInputList.1.1: "},
		"resource":      {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, CallerArn: new("arn:aws:iam::111111111111:user/x"), ResourcePolicy: new("{}")}, "InvalidInput: Invalid policy ResourcePolicy: "},
		"no caller":     {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, ResourcePolicy: new(to(`"*"`, "*"))}, "InvalidInput: CallerArn is required when a ResourcePolicy is specified."},
		"caller a role": {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, CallerArn: new("arn:aws:iam::111111111111:role/x")}, "InvalidInput: Invalid Caller ARN: "},
		"action":        {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: []string{"iam:Get*"}}, "InvalidInput: Invalid Action Name: iam:Get*"},
		"resource ARN":  {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, ResourceArns: []string{"x"}}, "InvalidInput: Invalid Resource ARN: x"},
		"owner":         {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, ResourceOwner: new("x")}, "InvalidInput: Invalid Resource Owner: x"},
		"EC2":           {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, ResourceHandlingOption: new("EC2-VPC-EBS")}, "InvalidInput: ResourceHandlingOption EC2-VPC-EBS is about EC2 instances"},
		"entry":         {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, ContextEntries: []iamapi.ContextEntry{{ContextKeyName: new("a:b")}}}, "InvalidInput: A context entry needs a name and values."},
		"entry type":    {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, ContextEntries: []iamapi.ContextEntry{{ContextKeyName: new("a:b"), ContextKeyType: new("string"), ContextKeyValues: []string{"1", "2"}}}}, "InvalidInput: Context key a:b is of type string and has more than one value."},
		"too many":      {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: many, ResourceArns: strings.Split(strings.Repeat("* ", 100), " ")[:100]}, "InvalidInput: There are more than 10000 pairs"},
		"marker":        {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, Marker: new("!")}, "ValidationError: The Marker value is invalid."},
		"forged marker": {iamapi.SimulateCustomPolicyInput{PolicyInputList: policies, ActionNames: actions, Marker: new("AAAA")}, "ValidationError: The Marker value is invalid."},
	} {
		if got := b.refused(iamapi.OpSimulateCustomPolicy, &tt.in, root); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

func TestSimulatePages(t *testing.T) {
	b := newBed(t)
	in := &iamapi.SimulateCustomPolicyInput{
		PolicyInputList: []string{allow("iam:*", "*")}, ActionNames: []string{"iam:A", "iam:B", "kms:C"},
		ResourceArns: []string{"*", "arn:aws:iam::111111111111:user/x"},
	}
	var whole, paged []string
	for _, r := range b.simulate(in) {
		whole = append(whole, line(r))
	}
	in.MaxItems = new(int32(2))
	pages := 0
	for {
		out := must[iamapi.SimulateCustomPolicyOutput](b, iamapi.OpSimulateCustomPolicy, in, root)
		pages++
		for _, r := range out.EvaluationResults {
			paged = append(paged, line(r))
		}
		if (out.Marker != nil) != *out.IsTruncated {
			t.Errorf("IsTruncated %v with marker %v", *out.IsTruncated, out.Marker)
		}
		if in.Marker = out.Marker; in.Marker == nil {
			break
		}
	}
	if diff := cmp.Diff(whole, paged); diff != "" || pages != 2 {
		t.Errorf("on %d pages (-whole +paged):\n%s", pages, diff)
	}
}

func TestSimulatePrincipalPolicy(t *testing.T) {
	b := newBed(t)
	alice := b.user(root, "alice", allow("iam:Get*", "*"))
	must[iamapi.TagUserOutput](b, iamapi.OpTagUser, &iamapi.TagUserInput{UserName: "alice", Tags: []iamapi.Tag{{Key: "team", Value: "blue"}}}, root)
	managed := b.managed(root, "Decrypts", allow("kms:Decrypt", "*", `{"StringEquals":{"aws:PrincipalTag/team":"blue"}}`))
	must[iamapi.AttachUserPolicyOutput](b, iamapi.OpAttachUserPolicy, &iamapi.AttachUserPolicyInput{UserName: "alice", PolicyArn: managed}, root)
	group := must[iamapi.CreateGroupOutput](b, iamapi.OpCreateGroup, &iamapi.CreateGroupInput{GroupName: "ops"}, root)
	must[iamapi.PutGroupPolicyOutput](b, iamapi.OpPutGroupPolicy, &iamapi.PutGroupPolicyInput{GroupName: "ops", PolicyName: "lists", PolicyDocument: allow("iam:List*", "*")}, root)
	must[iamapi.AddUserToGroupOutput](b, iamapi.OpAddUserToGroup, &iamapi.AddUserToGroupInput{GroupName: "ops", UserName: "alice"}, root)
	role := b.role(root, "deploy", allow("sts:*", "*"))
	bounded := b.user(root, "bounded", allow("*", "*"))
	must[iamapi.PutUserPermissionsBoundaryOutput](b, iamapi.OpPutUserPermissionsBoundary, &iamapi.PutUserPermissionsBoundaryInput{UserName: "bounded", PermissionsBoundary: managed}, root)

	actions := []string{"iam:GetUser", "iam:ListUsers", "kms:Decrypt", "sts:AssumeRole"}
	boundary := "permission-boundary"
	for _, tt := range []struct {
		name string
		in   iamapi.SimulatePrincipalPolicyInput
		want string // of each action: a allowed, e explicitly, i implicitly denied
		by   string
	}{
		{"user", iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: alice.ARN}, "aaai", "user_alice_a group_ops_lists Decrypts"},
		{"group", iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: group.Group.Arn}, "iaii", "group_ops_lists"},
		{"role", iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: role}, "iiia", "role_deploy_a"},
		{"more policies", iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: role, PolicyInputList: []string{refuse("iam:GetUser", "*"), allow("kms:*", "*")}}, "eiaa", "PolicyInputList.1 PolicyInputList.2 role_deploy_a"},
		{"without inline", iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: alice.ARN, PolicyExclusionList: []iamapi.PolicyIdentifier{
			{InlinePolicyIdentifier: &iamapi.InlinePolicyIdentifierType{PolicyName: "a", AttachmentType: "user", AttachmentName: "alice"}},
		}}, "iaai", "group_ops_lists Decrypts"},
		{"without managed", iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: alice.ARN, PolicyExclusionList: []iamapi.PolicyIdentifier{{PolicyArn: &managed}}}, "aaii", "user_alice_a group_ops_lists"},
		{"bounded", iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: bounded.ARN, ContextEntries: []iamapi.ContextEntry{
			{ContextKeyName: new("aws:PrincipalTag/team"), ContextKeyValues: []string{"blue"}},
		}}, "iiai", "user_bounded_a Decrypts"},
		{"another boundary", iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: bounded.ARN, PermissionsBoundaryPolicyInputList: []string{allow("iam:*", "*")}}, "aaii", "user_bounded_a PermissionsBoundaryPolicyInputList.1 user_bounded_a PermissionsBoundaryPolicyInputList.1"},
		{"without boundary", iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: bounded.ARN, PolicyExclusionList: []iamapi.PolicyIdentifier{{PolicyType: &boundary, PolicyArn: &managed}}}, "aaaa", "user_bounded_a user_bounded_a user_bounded_a user_bounded_a"},
	} {
		tt.in.ActionNames = actions
		out := must[iamapi.SimulatePrincipalPolicyOutput](b, iamapi.OpSimulatePrincipalPolicy, &tt.in, root)
		got := ""
		var by []string
		for _, r := range out.EvaluationResults {
			got += r.EvalDecision[:1]
			for _, m := range r.MatchedStatements {
				by = append(by, *m.SourcePolicyId)
			}
		}
		if got != tt.want || strings.Join(by, " ") != tt.by {
			t.Errorf("%s: %s by %s, want %s by %s", tt.name, got, by, tt.want, tt.by)
		}
	}

	// The guardrail of the account takes part, unless it is left out.
	b.guardrail(ours, `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iam:GetUser","Resource":"*"}]}`)
	in := &iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: alice.ARN, ActionNames: actions[:1]}
	for _, want := range []string{"iam:GetUser * explicitDeny guardrail organizations=false", "iam:GetUser * allowed user_alice_a"} {
		r := must[iamapi.SimulatePrincipalPolicyOutput](b, iamapi.OpSimulatePrincipalPolicy, in, root).EvaluationResults[0]
		r.MissingContextValues = nil
		if got := line(r); got != want {
			t.Errorf("guardrail: %s, want %s", got, want)
		}
		in.PolicyExclusionList = []iamapi.PolicyIdentifier{{PolicyType: new("scp")}}
	}
}

func TestSimulatePrincipalRefuses(t *testing.T) {
	b := newBed(t)
	b.user(root, "alice")
	foreign := b.user(theirRoot, "eve")
	in := func(arn string) *iamapi.SimulatePrincipalPolicyInput {
		return &iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: arn, ActionNames: []string{"iam:GetUser"}}
	}
	for arn, want := range map[string]string{
		"arn:aws:iam::111111111111:user/bob":     "NoSuchEntity: The entity arn:aws:iam::111111111111:user/bob cannot be found.",
		"arn:aws:iam::111111111111:user/p/alice": "NoSuchEntity: ",
		"arn:aws:iam::111111111111:group/alice":  "NoSuchEntity: ",
		"arn:aws:iam::111111111111:role/alice":   "NoSuchEntity: ",
		foreign.ARN:                              "NoSuchEntity: ",
		"arn:aws:iam::111111111111:policy/x":     "InvalidInput: Invalid Entity Arn: ",
		"aaaaaaaaaaaaaaaaaaaaaa":                 "InvalidInput: Invalid Entity Arn: ",
	} {
		if got := b.refused(iamapi.OpSimulatePrincipalPolicy, in(arn), root); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", arn, got, want)
		}
	}
	for name, tt := range map[string]struct {
		change func(in *iamapi.SimulatePrincipalPolicyInput)
		want   string
	}{
		"policy":   {func(in *iamapi.SimulatePrincipalPolicyInput) { in.PolicyInputList = []string{"x"} }, "InvalidInput: Invalid policy PolicyInputList.1"},
		"boundary": {func(in *iamapi.SimulatePrincipalPolicyInput) { in.PermissionsBoundaryPolicyInputList = []string{"x"} }, "InvalidInput: Invalid policy PermissionsBoundaryPolicyInputList.1"},
		"action":   {func(in *iamapi.SimulatePrincipalPolicyInput) { in.ActionNames = []string{"xyz"} }, "InvalidInput: Invalid Action Name: xyz"},
		"resource": {func(in *iamapi.SimulatePrincipalPolicyInput) { in.ResourcePolicy = new("x") }, "InvalidInput: Invalid policy ResourcePolicy"},
		"marker":   {func(in *iamapi.SimulatePrincipalPolicyInput) { in.Marker = new("x") }, "ValidationError: The Marker value is invalid."},
	} {
		in := in("arn:aws:iam::111111111111:user/alice")
		tt.change(in)
		if got := b.refused(iamapi.OpSimulatePrincipalPolicy, in, root); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// To simulate needs permission, about the principal in question.
func TestSimulateAsks(t *testing.T) {
	b := newBed(t)
	nobody := b.user(root, "nobody")
	some := b.user(root, "some", allow("iam:SimulatePrincipalPolicy", nobody.ARN))
	for _, tt := range []struct {
		caller call.Principal
		source string
		want   string
	}{
		{some, nobody.ARN, ""},
		{some, some.ARN, "AccessDenied: User: arn:aws:iam::111111111111:user/some is not authorized to perform: iam:SimulatePrincipalPolicy on resource: arn:aws:iam::111111111111:user/some because"},
		{some, "arn:aws:iam::111111111111:user/bob", "AccessDenied: "},
		{some, "arn:aws:iam::222222222222:user/bob", "AccessDenied: "},
		{nobody, nobody.ARN, "AccessDenied: "},
	} {
		_, err := b.call(iamapi.OpSimulatePrincipalPolicy, &iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: tt.source, ActionNames: []string{"iam:GetUser"}}, tt.caller)
		got := ""
		if err != nil {
			got = b.refused(iamapi.OpSimulatePrincipalPolicy, &iamapi.SimulatePrincipalPolicyInput{PolicySourceArn: tt.source, ActionNames: []string{"iam:GetUser"}}, tt.caller)
		}
		if !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%s about %s: %s, want %s", tt.caller.UserName, tt.source, got, tt.want)
		}
	}
	in := &iamapi.SimulateCustomPolicyInput{PolicyInputList: []string{allow("*", "*")}, ActionNames: []string{"iam:GetUser"}}
	if got := b.refused(iamapi.OpSimulateCustomPolicy, in, some); !strings.HasPrefix(got, "AccessDenied: ") {
		t.Errorf("SimulateCustomPolicy: %s", got)
	}
}

// The end of a statement is the brace that closes it, whatever stands in its strings.
func FuzzEndOf(f *testing.F) {
	f.Add(allow("*", "*"))
	f.Add("{\n \"Statement\": [{\"Sid\": \"}\\\"}\",\n\"Effect\": \"Allow\", \"Action\": \"*\", \"Resource\": \"ä{\"}]}")
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := policy.ParseIdentityPolicy(text)
		if err != nil {
			return
		}
		for _, s := range doc.Statements {
			end := access.EndOf(text, s.Position)
			if at(text, s.Position) != '{' || at(text, end) != '}' {
				t.Errorf("statement from %v to %v of %q", s.Position, end, text)
			}
		}
	})
}

func at(text string, p policy.Position) rune {
	line, column := 1, 1
	for _, c := range text {
		if line == p.Line && column == p.Column {
			return c
		}
		column++
		if c == '\n' {
			line, column = line+1, 1
		}
	}
	return 0
}
