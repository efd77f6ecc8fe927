package secretsmanager_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// Clients remove regions before they delete, whether there are any or not.
func TestRemoveRegionsFromReplication(t *testing.T) {
	k := newKit(t)
	name, arn := k.secret("s", "v")
	out, err := k.RemoveRegionsFromReplication(k.ctx(), &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: &name, RemoveReplicaRegions: []string{"eu-west-1"}})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.ARN) != arn || len(out.ReplicationStatus) != 0 {
		t.Errorf("answer = %s %v", aws.ToString(out.ARN), out.ReplicationStatus)
	}
	_, err = k.RemoveRegionsFromReplication(k.ctx(), &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: aws.String(k.prefix + "none"), RemoveReplicaRegions: []string{"eu-west-1"}})
	wantError[*types.ResourceNotFoundException](t, err, textNoSecret)
}

// What Arca cannot do yet it refuses by name, and changes nothing.
func TestReplicationUnsupported(t *testing.T) {
	ours(t, "AWS does it")
	k := newKit(t)
	name, _ := k.secret("s", "v")
	_, err := k.ReplicateSecretToRegions(k.ctx(), &secretsmanager.ReplicateSecretToRegionsInput{SecretId: &name, AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("eu-west-1")}}})
	wantError[*types.InvalidRequestException](t, err, "ReplicateSecretToRegions is not supported by this server.")
	_, err = k.StopReplicationToReplica(k.ctx(), &secretsmanager.StopReplicationToReplicaInput{SecretId: &name})
	wantError[*types.InvalidRequestException](t, err, "StopReplicationToReplica is not supported by this server.")
	wantMembers(t, ask(t, "DescribeSecret", in{"SecretId": name}), "ARN", "Name", "CreatedDate", "LastChangedDate", "VersionIdsToStages")
}
