package api_test

import (
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/smapi"
)

func ptr[T any](v T) *T { return &v }

func TestAppendAuditParameters(t *testing.T) {
	secret := api.SensitiveString("hunter2")
	deletion := time.Date(2018, 5, 3, 19, 51, 2, 900e6, time.FixedZone("", 2*3600))
	for _, tt := range []struct {
		name  string
		shape *api.Shape
		value any
		want  string
	}{
		{
			"values never show", smapi.OpCreateSecret.Input,
			&smapi.CreateSecretInput{
				Name: "prod/db", ClientRequestToken: ptr("EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE"),
				SecretString: &secret, SecretBinary: api.SensitiveBytes("hunter2"),
				KmsKeyId: ptr("alias/k"), Tags: []smapi.Tag{{Key: ptr("team"), Value: ptr(`"a"`)}},
				AddReplicaRegions: []smapi.ReplicaRegionType{{Region: ptr("eu-west-1")}},
			},
			`{"name":"prod/db","clientRequestToken":"EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE","kmsKeyId":"alias/k",` +
				`"tags":[{"key":"team","value":"\"a\""}],"addReplicaRegions":[{"region":"eu-west-1"}],"forceOverwriteReplicaSecret":false}`,
		},
		{
			"plain member that was sent", smapi.OpReplicateSecretToRegions.Input,
			&smapi.ReplicateSecretToRegionsInput{SecretId: "x", ForceOverwriteReplicaSecret: ptr(true)},
			`{"secretId":"x","forceOverwriteReplicaSecret":true}`,
		},
		{
			"rotation token", smapi.OpPutSecretValue.Input,
			&smapi.PutSecretValueInput{SecretId: "x", RotationToken: &secret, VersionStages: []string{}},
			`{"secretId":"x","versionStages":[]}`,
		},
		{
			"times and ARN of a response", smapi.OpDeleteSecret.Output,
			&smapi.DeleteSecretOutput{ARN: ptr("arn:aws:x"), Name: ptr("x"), DeletionDate: &deletion},
			`{"arn":"arn:aws:x","name":"x","deletionDate":"May 3, 2018 5:51:02 PM"}`,
		},
		{
			"nested structures and filters", smapi.OpListSecrets.Input,
			&smapi.ListSecretsInput{
				MaxResults: ptr[int32](3), Filters: []smapi.Filter{{Key: ptr("name"), Values: []string{"a", "!b"}}},
			},
			`{"maxResults":3,"filters":[{"key":"name","values":["a","!b"]}]}`,
		},
		{
			"rotation rules", smapi.OpRotateSecret.Input,
			&smapi.RotateSecretInput{
				SecretId: "x", RotationLambdaARN: ptr("arn:aws:lambda:f"),
				RotationRules: &smapi.RotationRulesType{AutomaticallyAfterDays: ptr[int64](30)},
			},
			`{"secretId":"x","rotationLambdaARN":"arn:aws:lambda:f","rotationRules":{"automaticallyAfterDays":30}}`,
		},
		{
			"keys of maps are data", smapi.OpDescribeSecret.Output,
			&smapi.DescribeSecretOutput{VersionIdsToStages: map[string][]string{"B-2": {"AWSCURRENT"}, "A-1": nil}},
			`{"versionIdsToStages":{"A-1":[],"B-2":["AWSCURRENT"]}}`,
		},
		{"nothing to show", smapi.OpGetRandomPassword.Output, &smapi.GetRandomPasswordOutput{RandomPassword: &secret}, ``},
		{"no output at all", smapi.OpTagResource.Output, (*smapi.TagResourceOutput)(nil), ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(api.AppendAuditParameters(nil, tt.shape, tt.value)); got != tt.want {
				t.Errorf("AppendAuditParameters() =\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
