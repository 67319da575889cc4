package deploy

import (
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

func TestPolicyAllows(t *testing.T) {
	const (
		service   = `"Principal":{"Service":"secretsmanager.amazonaws.com"}`
		allow     = `"Effect":"Allow",` + service + `,"Action":"lambda:InvokeFunction"`
		condition = `"Condition":`
	)
	d := &deployment{cfg: config{secret: "rds_login"}}
	function, err := arn.Parse("arn:aws:lambda:us-east-1:123456789012:function:f")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, statement string
		want            bool
	}{
		{"plain", `{` + allow + `}`, true},
		{"one statement that is no list", ``, true},
		{"action list", `{"Effect":"Allow",` + service + `,"Action":["lambda:GetFunction","lambda:*"]}`, true},
		{"service list", `{"Effect":"Allow","Principal":{"Service":["x","secretsmanager.amazonaws.com"]},"Action":"*"}`, true},
		{"deny", `{"Effect":"Deny",` + service + `,"Action":"*"}`, false},
		{"another action", `{"Effect":"Allow",` + service + `,"Action":"lambda:GetFunction"}`, false},
		{"another service", `{"Effect":"Allow","Principal":{"Service":"events.amazonaws.com"},"Action":"*"}`, false},
		{"everybody", `{"Effect":"Allow","Principal":"*","Action":"*"}`, false},
		{"an account", `{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"*"}`, false},
		{"our account", `{` + allow + `,` + condition + `{"StringEquals":{"AWS:SourceAccount":"123456789012"}}}`, true},
		{"another account", `{` + allow + `,` + condition + `{"StringEquals":{"AWS:SourceAccount":"210987654321"}}}`, false},
		{"our secret", `{` + allow + `,` + condition + `{"ArnLike":{"aws:SourceArn":"arn:aws:secretsmanager:us-east-1:123456789012:secret:rds_*"}}}`, true},
		{"another secret", `{` + allow + `,` + condition + `{"ArnLike":{"aws:SourceArn":"arn:aws:secretsmanager:us-east-1:123456789012:secret:other-*"}}}`, false},
		{"account and secret", `{` + allow + `,` + condition + `{"StringEquals":{"AWS:SourceAccount":"1"},"ArnLike":{"aws:SourceArn":"*"}}}`, false},
		{"an unknown condition", `{` + allow + `,` + condition + `{"Bool":{"aws:SecureTransport":"true"}}}`, false},
		{"an unknown key", `{` + allow + `,` + condition + `{"StringEquals":{"aws:SourceVpc":"x"}}}`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Principal":"*"},` + tt.statement + `]}`
			if tt.statement == "" {
				text = `{"Statement":{` + allow + `}}`
			}
			var p policy
			if err := json.Unmarshal([]byte(text), &p); err != nil {
				t.Fatal(err)
			}
			if got := p.allows(d.rotator(function)); got != tt.want {
				t.Errorf("allows is %v", got)
			}
		})
	}
}
