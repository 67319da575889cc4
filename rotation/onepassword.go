package rotation

// OnePassword is what an Engine says whose accounts never have two passwords:
// then nothing needs to be tried to know that the old one has ended.
type OnePassword interface{ OnePassword() }

// keepsOne tells without a login whether a rotation to this login has ended the
// password before.
func (f *Function) keepsOne(now document) bool {
	_, one := f.Engine.(OnePassword)
	return one || now.strategy == StrategySingleUser
}
