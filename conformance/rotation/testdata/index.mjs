import {
	DescribeSecretCommand, GetRandomPasswordCommand, GetSecretValueCommand, PutSecretValueCommand, SecretsManagerClient,
	UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager'

const client = new SecretsManagerClient({})

// Makes new passwords for a secret that is a JSON object, and has no server to set them in.
export const handler = async ({ Step, SecretId, ClientRequestToken, RotationToken }) => {
	if (Step === 'createSecret') {
		try {
			await client.send(new GetSecretValueCommand({ SecretId, VersionId: ClientRequestToken, VersionStage: 'AWSPENDING' }))
			return
		} catch (error) {
			if (error.name !== 'ResourceNotFoundException') throw error
		}
		const value = JSON.parse((await client.send(new GetSecretValueCommand({ SecretId }))).SecretString)
		value.password = (await client.send(new GetRandomPasswordCommand({ PasswordLength: 40, ExcludePunctuation: true }))).RandomPassword
		await client.send(new PutSecretValueCommand({
			SecretId, ClientRequestToken, RotationToken, SecretString: JSON.stringify(value), VersionStages: ['AWSPENDING'],
		}))
		console.log('stored a pending value')
	}
	if (Step === 'finishSecret') {
		const { VersionIdsToStages } = await client.send(new DescribeSecretCommand({ SecretId }))
		const current = Object.keys(VersionIdsToStages).find((version) => VersionIdsToStages[version].includes('AWSCURRENT'))
		if (current === ClientRequestToken) return
		await client.send(new UpdateSecretVersionStageCommand({
			SecretId, VersionStage: 'AWSCURRENT', MoveToVersionId: ClientRequestToken, RemoveFromVersionId: current,
		}))
	}
}
