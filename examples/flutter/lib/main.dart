import 'package:cloud_firestore/cloud_firestore.dart';
import 'package:cloud_functions/cloud_functions.dart';
import 'package:firebase_app_check/firebase_app_check.dart';
import 'package:firebase_auth/firebase_auth.dart';
import 'package:firebase_core/firebase_core.dart';
import 'package:firebase_storage/firebase_storage.dart';
import 'package:flutter/material.dart';

import 'edit_page.dart';
import 'firebase_options.dart'; // `flutterfire configure` writes it, for your project
import 'inpaint_client.dart';

const region = 'us-east4'; // of the functions

Future<void> main() async {
  WidgetsFlutterBinding.ensureInitialized();
  await Firebase.initializeApp(options: DefaultFirebaseOptions.currentPlatform);
  await FirebaseAppCheck.instance.activate();
  // An account of your app; anonymous users are enough to try it.
  final user = FirebaseAuth.instance.currentUser ?? (await FirebaseAuth.instance.signInAnonymously()).user!;
  final client = InpaintClient(
    userId: user.uid,
    firestore: FirebaseFirestore.instance,
    storage: FirebaseStorage.instance,
    functions: FirebaseFunctions.instanceFor(region: region),
  );
  runApp(MaterialApp(home: EditPage(client: client)));
}
