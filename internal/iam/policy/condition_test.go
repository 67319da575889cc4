package policy

import (
	"cmp"
	"testing"
)

// meets decides a policy whose one statement has one condition.
func meets(t *testing.T, operator, values string, keys map[string][]string) bool {
	t.Helper()
	d := identity(t, inPolicy(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"`+operator+`":{"Test:Key":`+values+`}}}`))
	return d.Decide(asking(keys)) == Allow
}

// Each operator, with the values of the policy and one value of the request.
func TestOperators(t *testing.T) {
	for _, tc := range []struct {
		operator, negation, values string
		matching, other            []string
	}{
		{"StringEquals", "StringNotEquals", `["abc","d*"]`, []string{"abc", "d*"}, []string{"ABC", "ab", "dx", ""}},
		{"StringEquals", "StringNotEquals", `"${test:name}-x"`, []string{"ann-x"}, []string{"bob-x", "${test:name}-x"}},
		{"StringEquals", "StringNotEquals", `"a${*}${$}"`, []string{"a*$"}, []string{"ab$"}},
		{"StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", `["aBc","É"]`, []string{"abc", "ABC", "é"}, []string{"ab", "abcd"}},
		{"StringLike", "StringNotLike", `["a*c","?"]`, []string{"ac", "abc", "a/:c", "x", "é"}, []string{"A*C", "", "xy", "abcd"}},
		{"StringLike", "StringNotLike", `"${test:name}*"`, []string{"ann", "anna"}, []string{"an"}},
		{"StringLike", "StringNotLike", `"*b*b*c"`, []string{"bbc", "abxbxc", "bbbc"}, []string{"bc", "bbcd"}},
		{"NumericEquals", "NumericNotEquals", `["7",30]`, []string{"7", "7.0", "30", "+7"}, []string{"8", "", "x", "7e0", "0x7"}},
		{"NumericEquals", "NumericNotEquals", `"0.1"`, []string{"0.10"}, []string{"0.1000000000000000000001"}},
		{"NumericLessThan", "NumericGreaterThanEquals", `"7"`, []string{"6.9", "-8"}, []string{"7", "8"}},
		{"NumericLessThanEquals", "NumericGreaterThan", `"7"`, []string{"7", "6"}, []string{"7.1", "10"}},
		{"DateEquals", "DateNotEquals", `"2026-02-03T04:05:06Z"`, []string{"2026-02-03T04:05:06Z", "2026-02-03T05:05:06+01:00", "1770091506", "20260203T040506Z"},
			[]string{"2026-02-03T04:05:07Z", "now", ""}},
		{"DateLessThan", "DateGreaterThanEquals", `"2026-02-03"`, []string{"2026-02-02T23:59:59Z", "2026-01", "2025", "0"}, []string{"2026-02-03T00:00Z", "2027"}},
		{"DateLessThanEquals", "DateGreaterThan", `1770076800`, []string{"2026-02-03", "2026-02-02"}, []string{"2026-02-03T00:00:01Z"}},
		{"Bool", "", `true`, []string{"true", "True"}, []string{"false", "", "1"}},
		{"Bool", "", `"False"`, []string{"false"}, []string{"true"}},
		{"BinaryEquals", "", `"QmluYXJ5"`, []string{"Binary"}, []string{"QmluYXJ5", "binary"}},
		{"IpAddress", "NotIpAddress", `["203.0.113.0/24","10.1.2.3","2001:DB8:1234:5678::/64"]`,
			[]string{"203.0.113.0", "203.0.113.255", "10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1234:5678::1"},
			[]string{"203.0.112.255", "10.1.2.4", "2001:db8:1234:5679::1", "", "localhost"}},
		{"IpAddress", "NotIpAddress", `"::ffff:10.0.0.0/104"`, []string{"10.1.2.3", "::ffff:10.1.2.3"}, []string{"11.0.0.1"}},
		{"IpAddress", "NotIpAddress", `"203.0.113.77/24"`, []string{"203.0.113.1"}, []string{"203.0.114.1"}},
		{"ArnEquals", "ArnNotEquals", `"arn:aws:someservice:*:111122223333:finance/*"`, []string{"arn:aws:someservice:us-east-2:111122223333:finance/document.txt", "arn:aws:someservice::111122223333:finance/a:b"},
			[]string{"arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt", "arn:aws:someservice:us-east-2", "finance/x", ""}},
		{"ArnLike", "ArnNotLike", `["arn:aws:iam::1?1122223333:role/${test:name}","arn:aws:sns:*:*:*"]`, []string{"arn:aws:iam::111122223333:role/ann", "arn:aws:sns:a:b:c:d"},
			[]string{"arn:aws:iam::111122223333:role/bob", "arn:aws:sns:a:b", "ARN:aws:sns:a:b:c"}},
		{"ArnLike", "ArnNotLike", `"*"`, []string{"arn:aws:sns:a:b:c"}, []string{"x"}},
		{"ArnLike", "ArnNotLike", `"arn:*"`, nil, []string{"arn:aws:sns:a:b:c"}},
	} {
		t.Run(tc.operator+tc.values, func(t *testing.T) {
			check := func(value string, want bool) {
				t.Helper()
				keys := map[string][]string{"test:key": {value}, "test:name": {"ann"}}
				if meets(t, tc.operator, tc.values, keys) != want || meets(t, tc.operator+"IfExists", tc.values, keys) != want {
					t.Errorf("%s of %q must be %v", tc.operator, value, want)
				}
				if isComparable(tc.operator, value) && tc.negation != "" && meets(t, tc.negation, tc.values, keys) == want {
					t.Errorf("%s of %q must be %v", tc.negation, value, !want)
				}
			}
			for _, value := range tc.matching {
				check(value, true)
			}
			for _, value := range tc.other {
				check(value, false)
			}
		})
	}
}

// isComparable is false where the opposite comparison fails as well: no number
// is neither less nor not less than another.
func isComparable(operator, value string) bool {
	return operator == "NumericEquals" || operator == "DateEquals" || (value != "" && value != "x")
}

// A missing key fails every operator but the negated ones, IfExists and ForAllValues.
func TestMissingKey(t *testing.T) {
	values := map[string]string{"Bool": `"true"`, "BinaryEquals": `""`, "IpAddress": `"0.0.0.0/0"`, "NotIpAddress": `"0.0.0.0/0"`}
	for name, o := range operators {
		value := cmp.Or(values[name], `"1"`)
		for operator, want := range map[string]bool{name: o.negated, name + "IfExists": true, "ForAnyValue:" + name: false,
			"ForAllValues:" + name: true, "ForAnyValue:" + name + "IfExists": true, "ForAllValues:" + name + "IfExists": true} {
			if got := meets(t, operator, value, nil); got != want {
				t.Errorf("%s = %v", operator, got)
			}
			if got := meets(t, operator, value, map[string][]string{"test:key": {}}); got != want {
				t.Errorf("%s without values = %v", operator, got)
			}
		}
	}
}

// Set operators, as in the tables of the IAM user guide for multivalued keys.
func TestSetOperators(t *testing.T) {
	for _, tc := range []struct {
		name, operator, values string
		request                []string
		want                   bool
	}{
		{"AllIn", "ForAllValues:StringLike", `["key1*"]`, []string{"key1:legal"}, true},
		{"AllInSeveral", "ForAllValues:StringLike", `["key1*"]`, []string{"key1:hr", "key1:personnel"}, true},
		{"AllButOne", "ForAllValues:StringLike", `["key1*"]`, []string{"key1:hr", "key2:audit"}, false},
		{"AllOut", "ForAllValues:StringLike", `["key1*"]`, []string{"key2:audit"}, false},
		{"AllOfEmpty", "ForAllValues:StringLike", `["key1*"]`, []string{""}, true},
		{"AllByDifferentValues", "ForAllValues:StringEquals", `["a","b","c"]`, []string{"c", "a"}, true},
		{"AllNotIn", "ForAllValues:StringNotEquals", `["a","b"]`, []string{"c", "d"}, true},
		{"OneOfThemIn", "ForAllValues:StringNotEquals", `["a","b"]`, []string{"c", "b"}, false},
		{"AnyIn", "ForAnyValue:StringEquals", `["environment","webserver"]`, []string{"x", "webserver"}, true},
		{"AnyOut", "ForAnyValue:StringEquals", `["environment","webserver"]`, []string{"x", "y"}, false},
		{"AnyOfEmpty", "ForAnyValue:StringEquals", `["","a"]`, []string{""}, false},
		{"AnyNotIn", "ForAnyValue:StringNotEquals", `["a","b"]`, []string{"a", "c"}, true},
		{"NoneNotIn", "ForAnyValue:StringNotEquals", `["a","b"]`, []string{"a", "b"}, false},
		{"WithoutSetOneIsEnough", "StringEquals", `["a","b"]`, []string{"x", "a"}, true},
		{"WithoutSetNoneMay", "StringNotEquals", `["a","b"]`, []string{"x", "a"}, false},
		{"NorOverValues", "StringNotEquals", `["a","b"]`, []string{"c"}, true},
		{"NothingToMatch", "StringEquals", `[]`, []string{"a"}, false},
		{"NothingNotToMatch", "StringNotEquals", `[]`, []string{"a"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := meets(t, tc.operator, tc.values, map[string][]string{"test:key": tc.request}); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestNull(t *testing.T) {
	present := map[string][]string{"test:key": {""}}
	for _, tc := range []struct {
		values          string
		absent, present bool
	}{
		{`"true"`, true, false}, {`"false"`, false, true}, {`true`, true, false}, {`["true","false"]`, true, true}, {`[]`, false, false},
	} {
		if got := meets(t, "Null", tc.values, nil); got != tc.absent {
			t.Errorf("%s of an absent key = %v", tc.values, got)
		}
		if got := meets(t, "Null", tc.values, present); got != tc.present {
			t.Errorf("%s of a present key = %v", tc.values, got)
		}
	}
}

// A value whose variable has none matches nothing, so its negation holds.
func TestConditionVariableWithoutValue(t *testing.T) {
	keys := map[string][]string{"test:key": {"a"}}
	for operator, want := range map[string]bool{"StringEquals": false, "ArnLike": false, "StringNotEquals": true, "ArnNotLike": true, "StringNotLike": true, "StringNotEqualsIgnoreCase": true} {
		if got := meets(t, operator, `"${test:name}"`, keys); got != want {
			t.Errorf("%s = %v", operator, got)
		}
	}
	if !meets(t, "StringEquals", `["${test:name}","a"]`, keys) || !meets(t, "StringEquals", `"${test:name, 'a'}"`, keys) {
		t.Error("other values and defaults must match")
	}
}

// Operators and keys are AND-ed.
func TestConditionsAreAnded(t *testing.T) {
	d := identity(t, inPolicy(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{
		"StringEquals":{"a:x":["1","2"],"A:Y":"3"},"Bool":{"a:z":"true"}}}`))
	all := map[string][]string{"a:x": {"2"}, "a:y": {"3"}, "a:z": {"true"}}
	if d.Decide(asking(all)) != Allow {
		t.Error("all hold, and it does not apply")
	}
	for key := range all {
		keys := map[string][]string{"a:x": all["a:x"], "a:y": all["a:y"], "a:z": all["a:z"]}
		keys[key] = []string{"no"}
		if d.Decide(asking(keys)) != None {
			t.Errorf("%s does not hold, and it applies", key)
		}
	}
}
