package policy

import "testing"

func TestIsPublic(t *testing.T) {
	for _, tc := range []struct {
		name, principal, condition string
		want                       bool
	}{
		{"Everybody", `"Principal":"*"`, `{}`, true},
		{"EverybodyOfAWS", `"Principal":{"AWS":["111122223333","*"]}`, `{}`, true},
		{"EverybodyBut", `"NotPrincipal":{"AWS":"111122223333"}`, `{}`, true},
		{"Identities", `"Principal":{"Federated":"graph.facebook.com"}`, `{}`, true},
		{"IdentitiesOfAProvider", `"Principal":{"Federated":"arn:aws:iam::111122223333:saml-provider/p"}`, `{}`, false},
		{"Account", `"Principal":{"AWS":"111122223333"}`, `{}`, false},
		{"Service", `"Principal":{"Service":"rds.amazonaws.com"}`, `{}`, false},
		{"SourceVpc", `"Principal":"*"`, `{"StringEquals":{"aws:SourceVpc":"vpc-91237329"}}`, false},
		{"SourceVpcs", `"Principal":"*"`, `{"StringLike":{"aws:SourceVpc":"vpc-*"}}`, true},
		{"AsteriskWhereItIsNoWildcard", `"Principal":"*"`, `{"StringEquals":{"aws:SourceVpc":"vpc-*"}}`, true},
		{"OneOfTheValuesIsNotFixed", `"Principal":"*"`, `{"StringLike":{"aws:SourceVpce":["vpce-1","vpce-*"]}}`, true},
		{"Variable", `"Principal":"*"`, `{"StringEquals":{"aws:SourceAccount":"${aws:PrincipalAccount}"}}`, true},
		{"SourceAccount", `"Principal":"*"`, `{"StringEquals":{"AWS:SourceAccount":"111122223333"}}`, false},
		{"SourceArn", `"Principal":"*"`, `{"ArnLike":{"aws:SourceArn":"arn:aws:sns:us-east-1:111122223333:t"}}`, false},
		{"SourceArns", `"Principal":"*"`, `{"ArnLike":{"aws:SourceArn":"arn:aws:sns:us-east-1:*:t"}}`, true},
		{"Organization", `"Principal":"*"`, `{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}`, false},
		{"PrincipalAccount", `"Principal":"*"`, `{"StringEqualsIgnoreCase":{"aws:PrincipalAccount":["111122223333"]}}`, false},
		{"PrincipalArn", `"Principal":"*"`, `{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/r"}}`, false},
		{"UserID", `"Principal":"*"`, `{"StringLike":{"aws:userid":"AROAX:*"}}`, true},
		{"Negated", `"Principal":"*"`, `{"StringNotEquals":{"aws:SourceAccount":"111122223333"}}`, true},
		{"IfExists", `"Principal":"*"`, `{"StringEqualsIfExists":{"aws:SourceAccount":"111122223333"}}`, true},
		{"ForAllValues", `"Principal":"*"`, `{"ForAllValues:StringEquals":{"aws:SourceAccount":"111122223333"}}`, true},
		{"ForAnyValue", `"Principal":"*"`, `{"ForAnyValue:StringEquals":{"aws:SourceAccount":"111122223333"}}`, false},
		{"OtherKey", `"Principal":"*"`, `{"StringEquals":{"secretsmanager:VersionStage":"AWSCURRENT"}}`, true},
		{"NullOnly", `"Principal":"*"`, `{"Null":{"aws:SourceAccount":"false"}}`, true},
		{"OneOfTheConditionsIsEnough", `"Principal":"*"`, `{"Bool":{"aws:SecureTransport":"true"},"StringEquals":{"aws:SourceVpce":"vpce-1"}}`, false},
		{"Addresses", `"Principal":"*"`, `{"IpAddress":{"aws:SourceIp":["203.0.113.0/24","10.0.0.0/8","2001:db8::/32"]}}`, false},
		{"EveryAddress", `"Principal":"*"`, `{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}`, true},
		{"BroadAddresses", `"Principal":"*"`, `{"IpAddress":{"aws:SourceIp":["203.0.113.0/24","2.0.0.0/7"]}}`, true},
		{"BroadIPv6Addresses", `"Principal":"*"`, `{"IpAddress":{"aws:SourceIp":"2001::/16"}}`, true},
		{"OtherAddresses", `"Principal":"*"`, `{"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}}`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for effect, want := range map[string]bool{"Allow": tc.want, "Deny": false} {
				d := resource(t, inPolicy(
					`{"Effect":"Allow","Action":"*","Resource":"*","Principal":{"AWS":"111122223333"}}`,
					`{"Effect":"`+effect+`","Action":"*","Resource":"*",`+tc.principal+`,"Condition":`+tc.condition+`}`))
				if got := d.IsPublic(); got != want {
					t.Errorf("%s: IsPublic = %v", effect, got)
				}
			}
		})
	}
}
